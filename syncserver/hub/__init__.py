"""From the process to its connections, in memory; knows no database."""
