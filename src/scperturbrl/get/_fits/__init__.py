"""Tables of models fitted to measured and predicted effects."""
