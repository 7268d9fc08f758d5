"""Layers that turn latent cells into counts, one kind a file, and how they are fitted."""
