"""The reference: statistics of the training cells of every condition, and baselines computed from them."""
