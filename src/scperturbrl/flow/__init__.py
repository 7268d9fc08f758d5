"""The generator: space, observation, condition encoder, velocity, path, sampler. Tensors only."""
