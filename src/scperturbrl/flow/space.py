"""The space in which the flow runs: principal components of log-normalised expression."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PCASpace(nn.Module):
    """Principal components with one common scale.

    One scale for all components (instead of whitening) keeps the noise components small, so that the flow spends its
    capacity where the cells differ.

    Parameters
    ----------
    mean
        ``(G,)`` mean of the training cells.
    components
        ``(G, d)`` orthonormal loadings.
    scale
        Standard deviation by which coordinates are divided.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, components: Tensor, scale: float | Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("components", components.float())
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    @property
    def dim(self) -> int:
        """Number of components d."""
        return self.components.shape[1]

    def encode(self, cells: Tensor) -> Tensor:
        """Coordinates ``(..., d)`` of log-normalised cells ``(..., G)``."""
        return ((cells - self.mean) @ self.components) / self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """Smooth log-normalised expression ``(..., G)`` at coordinates ``(..., d)``."""
        return self.mean + (latent * self.scale) @ self.components.T
