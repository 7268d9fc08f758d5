"""Comparisons of two populations of cells beyond their means."""
