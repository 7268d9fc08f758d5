"""Comparisons of two populations cell by cell, beyond their means."""
