"""Faults on purpose, by seed: real workers over a real PostgreSQL, and a check of what is left."""
