"""Alembic migrations of schema `clip`."""
