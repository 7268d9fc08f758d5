"""Generated cells and their distance to real ones, for fitting and post-training alike."""
