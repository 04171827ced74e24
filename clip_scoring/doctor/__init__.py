"""Checks of everything that scoring needs, part by part, with a remedy for each finding."""
