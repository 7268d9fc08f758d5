"""Rules that turn rewards into updates, one a file."""
