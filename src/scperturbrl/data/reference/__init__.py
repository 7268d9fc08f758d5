"""What the training cells say of every condition, and the simple rules built on it."""
