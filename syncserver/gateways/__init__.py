"""Other people's protocols, each one file over push and pull."""
