"""Plots of models fitted to measured and predicted effects."""
