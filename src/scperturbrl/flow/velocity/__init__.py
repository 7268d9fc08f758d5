"""Velocity networks, one kind per file."""
