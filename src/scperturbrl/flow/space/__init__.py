"""The spaces in which the flow runs, one kind a file."""
