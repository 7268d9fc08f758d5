"""Scores of verifiers for cells of any origin."""
