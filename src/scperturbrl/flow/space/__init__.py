"""The spaces in which the flow runs, one kind per file."""
