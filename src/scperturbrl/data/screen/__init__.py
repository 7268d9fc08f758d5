"""From an AnnData to the arrays that a screen is made of."""
