"""Doors that stay open."""
