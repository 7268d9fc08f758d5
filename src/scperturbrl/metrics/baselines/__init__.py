"""Simple predictions from the effects of training conditions, one idea per file."""
