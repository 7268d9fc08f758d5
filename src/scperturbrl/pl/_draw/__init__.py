"""What the plots share: colours, labels, rows, lanes."""
