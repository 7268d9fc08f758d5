"""The page to share: pictures, tables, settings and a verdict in one HTML file."""
