"""Which perturbation next: candidates, objectives, calibrated trust, interactions and dose response."""
