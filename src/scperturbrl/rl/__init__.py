"""Post-training: rollout, reward, advantage, update, guard. Tensors only."""
