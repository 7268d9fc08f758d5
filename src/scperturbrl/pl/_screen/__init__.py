"""Plots of a screen."""
