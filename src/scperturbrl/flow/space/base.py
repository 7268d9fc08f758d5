"""Spaces in which the flow runs: base class, principal components, and genes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

SPACES = ("pca", "genes", "scvi")


class Space(nn.Module, ABC):
    """Coordinates of cells, centred and with one common scale.

    Parameters
    ----------
    mean
        ``(G,)`` mean of the training cells.
    components
        ``(G, k)`` orthonormal loadings of the training cells.
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
    @abstractmethod
    def dim(self) -> int:
        """Number of coordinates d."""

    @abstractmethod
    def encode(self, cells: Tensor) -> Tensor:
        """Coordinates ``(..., d)`` of log-normalised cells ``(..., G)``."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Smooth log-normalised expression ``(..., G)`` at coordinates ``(..., d)``."""

    @abstractmethod
    def project(self, effects: Tensor) -> Tensor:
        """Changes of coordinates ``(..., d)`` that changes of expression ``(..., G)`` make."""

    @abstractmethod
    def loadings(self) -> Tensor:
        """Matrix ``(G, d)`` of :meth:`project`."""


class PCASpace(Space):
    """Principal components with one common scale.

    One scale for all components (instead of whitening) keeps the noise components small, so that the flow uses its
    capacity for directions in which cells differ.

    Parameters
    ----------
    mean
        ``(G,)`` mean of the training cells.
    components
        ``(G, d)`` orthonormal loadings.
    scale
        Standard deviation by which coordinates are divided.
    """

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

    def project(self, effects: Tensor) -> Tensor:
        """Changes of coordinates ``(..., d)`` that changes of expression ``(..., G)`` make."""
        return effects @ self.components / self.scale

    def loadings(self) -> Tensor:
        """Matrix ``(G, d)`` of :meth:`project`."""
        return self.components / self.scale


class GeneSpace(Space):
    """The genes themselves, centred and with one common scale.

    Parameters
    ----------
    mean
        ``(G,)`` mean of the training cells.
    components
        ``(G, k)`` orthonormal loadings of the training cells. They are not coordinates, but features of perturbed
        genes.
    scale
        Root mean variance of the genes, by which coordinates are divided.

    Examples
    --------
    >>> import torch
    >>> from scperturbrl.flow.space.base import GeneSpace
    >>> space = GeneSpace(torch.tensor([1.0, 2.0]), torch.eye(2)[:, :1], 0.5)
    >>> space.encode(torch.tensor([[1.0, 3.0]])).tolist()
    [[0.0, 2.0]]
    """

    @property
    def dim(self) -> int:
        """Number of genes G."""
        return self.mean.shape[0]

    def encode(self, cells: Tensor) -> Tensor:
        """Coordinates ``(..., G)`` of log-normalised cells ``(..., G)``."""
        return (cells - self.mean) / self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """Log-normalised expression ``(..., G)`` at coordinates ``(..., G)``; may be negative."""
        return self.mean + latent * self.scale

    def project(self, effects: Tensor) -> Tensor:
        """Changes of coordinates ``(..., G)`` that changes of expression ``(..., G)`` make."""
        return effects / self.scale

    def loadings(self) -> Tensor:
        """Matrix ``(G, G)`` of :meth:`project`."""
        return torch.eye(self.dim, device=self.mean.device) / self.scale
