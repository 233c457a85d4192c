"""syncserver: a realtime sync server for readers. docs/ is for users, docs/decisions/ for the next engineer."""

__version__ = "0.1.0"
