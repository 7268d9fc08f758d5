"""Fit generators to training cells, and generate cells."""
