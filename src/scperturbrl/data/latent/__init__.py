"""Cells in the coordinates of the flow: the space, its signal, training cells with their control cells."""
