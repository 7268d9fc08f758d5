"""The report: plots, tables, settings and a verdict in one HTML file."""
