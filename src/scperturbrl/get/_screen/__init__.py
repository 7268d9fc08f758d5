"""Tables of a screen."""
