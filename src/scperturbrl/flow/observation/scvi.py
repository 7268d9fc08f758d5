"""The observation layer of scVI's latent space: its decoder's negative-binomial counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scperturbrl.flow.observation.nb import NegativeBinomialObservation

if TYPE_CHECKING:
    from scperturbrl.flow.space.scvi import ScviSpace


class ScviObservation(NegativeBinomialObservation):
    """Negative-binomial counts whose log rate is linear in the hidden units of scVI's decoder.

    Parameters
    ----------
    n_genes, n_latent, n_hidden
        Sizes G, d and H.
    n_tokens
        Number of known perturbations, each with a residual of its own.
    total
        Sum of a cell's normalised values; 0 where it differs between cells, as in a panel of genes.
    """

    first: Tensor
    first_bias: Tensor

    def __init__(self, n_genes: int, n_latent: int, n_hidden: int, n_tokens: int, total: float = 0.0) -> None:
        super().__init__(n_genes, n_hidden, n_tokens, total)
        self.register_buffer("first", torch.zeros(n_latent, n_hidden))
        self.register_buffer("first_bias", torch.zeros(n_hidden))

    def design(self, latent: Tensor) -> Tensor:
        """Hidden units ``(n, H)`` of scVI's decoder."""
        return torch.relu(torch.addmm(self.first_bias, latent, self.first))

    def start_from(self, space: ScviSpace) -> None:
        """Take the decoder of `space`; rates of a typical cell add up to its level."""
        decoder = space.decoder
        self.first.copy_(decoder.first)
        self.first_bias.copy_(decoder.first_bias)
        self.loading.copy_(decoder.second)
        with torch.no_grad():
            typical = decoder(torch.zeros(1, space.dim))
        self.intercept.copy_(decoder.second_bias + space.level.log() - typical.logsumexp(1))
