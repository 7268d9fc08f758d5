"""Predictions that a model must beat, made of the effects of training conditions; one idea a file."""
