"""Cells of anybody, and the scores of verifiers for them."""
