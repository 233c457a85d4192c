"""The verbs: push, pull, serve."""
