"""From the database into the process: listener, sweeper, feed."""
