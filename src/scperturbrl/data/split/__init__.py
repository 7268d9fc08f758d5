"""Split conditions into training, validation and test."""
