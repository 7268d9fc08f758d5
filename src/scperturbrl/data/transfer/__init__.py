"""Apply a saved generator to the control cells of another data set."""
