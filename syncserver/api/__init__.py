"""Doors that close: REST routes and their errors."""
