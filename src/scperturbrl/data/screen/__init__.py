"""Conversion of an AnnData to the arrays of a screen."""
