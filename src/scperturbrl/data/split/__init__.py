"""Which conditions are learnt from, watched, or kept for the test."""
