"""Predicted populations beside baselines and ceilings."""
