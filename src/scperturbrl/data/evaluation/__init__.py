"""Evaluation of predicted populations with baselines and ceilings."""
