"""All SQL, and the PostgreSQL that comes along."""
