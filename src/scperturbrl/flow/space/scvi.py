"""The latent space of scVI, with its encoder and decoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scperturbrl.flow.space.base import Space


class TwoLayers(NamedTuple):
    """A perceptron with one hidden layer: ``relu(x @ first + first_bias) @ second + second_bias``.

    Attributes
    ----------
    first, first_bias
        ``(a, h)`` and ``(h,)``.
    second, second_bias
        ``(h, b)`` and ``(b,)``.
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor

    @classmethod
    def zeros(cls, a: int, h: int, b: int) -> TwoLayers:
        """Network with zero weights, to be filled."""
        return cls(torch.zeros(a, h), torch.zeros(h), torch.zeros(h, b), torch.zeros(b))

    def hidden(self, x: Tensor) -> Tensor:
        """Hidden units ``(..., h)``."""
        return torch.relu(x @ self.first + self.first_bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs ``(..., b)``."""
        return self.hidden(x) @ self.second + self.second_bias


class ScviSpace(Space):
    """Posterior means of an scVI model with one hidden layer, centred and with one common scale.

    scVI's encoder sees counts. Here it sees the counts that the cell would have at a typical depth, so that coordinates
    do not depend on depth, as with principal components. Its decoder gives the share of each gene.

    Centre and scale are part of the weights, so that :attr:`scale` is 1.

    Parameters
    ----------
    mean
        ``(G,)`` mean of the training cells.
    components
        ``(G, k)`` orthonormal loadings of the training cells. They are not coordinates, but features of perturbed
        genes.
    linear
        ``(k, d)`` linear approximation of the change of coordinates along each component.
    encoder, decoder
        From logarithms of counts ``(G,)`` to coordinates ``(d,)``, and from these to the logits of the genes' shares.
    unit
        Normalised value of one count at the typical depth.
    level
        Total of the normalised values of a cell; that of a typical cell if totals differ.

    Notes
    -----
    :cite:t:`lopez2018scvi`.

    Examples
    --------
    >>> import torch
    >>> from scperturbrl.flow.space.scvi import ScviSpace, TwoLayers
    >>> encoder, decoder = TwoLayers.zeros(3, 4, 2), TwoLayers.zeros(2, 4, 3)
    >>> space = ScviSpace(torch.zeros(3), torch.eye(3)[:, :2], torch.eye(2), encoder, decoder, unit=2.0, level=30.0)
    >>> space.decode(torch.zeros(1, 2)).expm1().round().tolist()
    [[10.0, 10.0, 10.0]]
    """

    linear: Tensor
    unit: Tensor
    level: Tensor

    def __init__(
        self,
        mean: Tensor,
        components: Tensor,
        linear: Tensor,
        encoder: TwoLayers,
        decoder: TwoLayers,
        *,
        unit: float = 1.0,
        level: float = 1.0,
    ) -> None:
        super().__init__(mean, components, 1.0)
        self.register_buffer("linear", linear.float())
        self.register_buffer("unit", torch.tensor(unit))
        self.register_buffer("level", torch.tensor(level))
        for name, layers in (("encoder", encoder), ("decoder", decoder)):
            for part, value in layers._asdict().items():
                self.register_buffer(f"{name}_{part}", value.float())

    def _layers(self, name: str) -> TwoLayers:
        return TwoLayers(*(getattr(self, f"{name}_{part}") for part in TwoLayers._fields))

    @property
    def decoder(self) -> TwoLayers:
        """From coordinates to the logits of the genes' shares."""
        return self._layers("decoder")

    @property
    def dim(self) -> int:
        """Number of latent coordinates d."""
        return self.linear.shape[1]

    def encode(self, cells: Tensor) -> Tensor:
        """Coordinates ``(..., d)`` of log-normalised cells ``(..., G)``."""
        return self._layers("encoder")(torch.log1p(torch.expm1(cells) / self.unit))

    def decode(self, latent: Tensor) -> Tensor:
        """Smooth log-normalised expression ``(..., G)`` at coordinates ``(..., d)``."""
        return torch.log1p(self.level * self.decoder(latent).softmax(-1))

    def project(self, effects: Tensor) -> Tensor:
        """Changes of coordinates ``(..., d)`` for changes of expression ``(..., G)``, by linear approximation."""
        return effects @ self.components @ self.linear

    def loadings(self) -> Tensor:
        """Matrix ``(G, d)`` of :meth:`project`."""
        return self.components @ self.linear
