"""The reference: statistics of the training cells of every condition, and the baselines built on them."""
