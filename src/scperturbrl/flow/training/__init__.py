"""Training of the velocity by flow matching."""
