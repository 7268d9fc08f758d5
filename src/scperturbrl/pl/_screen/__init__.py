"""Pictures of a screen."""
