"""Pictures of models that are fitted to measured and predicted effects."""
