"""Velocity networks, one kind a file."""
