"""Annotated data as matrices and a table of conditions."""
