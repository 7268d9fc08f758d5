"""The observation layer of the gene space: expression rounded to whole counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scperturbrl.flow.observation.base import Observation

if TYPE_CHECKING:
    from scperturbrl.flow.observation.carry import ControlCounts

_SMALLEST = 1e-6


class LatticeObservation(Observation):
    """Cells whose values are the nearest ones that whole counts can take.

    In gene space the flow generates the expression of every gene, including count noise. Its values are continuous, but those of a real
    cell lie on a lattice: ``log1p(unit * k)`` for counts k. Rounding to this lattice gives integer counts; less than half a count becomes zero.

    The rate of gene g is ``expm1(intercept_g + slope * latent_g)``, at least 0, in normalised units.

    Parameters
    ----------
    n_genes
        Number of genes G.
    total
        Sum of a cell's normalised values; 0 where it differs between cells, as in a panel of genes.
    """

    carries = False
    intercept: Tensor
    slope: Tensor

    def __init__(self, n_genes: int, total: float = 0.0) -> None:
        super().__init__(n_genes, total)
        self.register_buffer("intercept", torch.zeros(n_genes))
        self.register_buffer("slope", torch.tensor(1.0))

    def condition_residual(self, tokens: Tensor) -> Tensor:
        """What is added to the log rates of each condition ``(C, G)``: nothing, since the flow sees every gene."""
        return self.intercept.new_zeros(len(tokens), len(self.intercept))

    def unbounded_log_rate(self, latent: Tensor) -> Tensor:
        """Log rate ``(n, G)`` of the expression at the latent cells."""
        return torch.expm1(self.intercept + self.slope * latent).clamp_min(_SMALLEST).log()

    def sample(
        self,
        log_rate: Tensor,
        unit: Tensor,
        rng: torch.Generator,
        *,
        control: ControlCounts | None = None,
        differentiable: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Round to whole counts; nothing is drawn or carried over. The gradient is that of the expression before rounding."""
        del rng, control
        counts = torch.round(torch.exp(log_rate.detach() - unit.log()[:, None]))
        cells, _ = self.shown(counts, unit)
        if differentiable:
            smooth = torch.log1p(log_rate.exp())
            # the bracket is zero in value: it only carries the derivative
            cells = cells + (smooth - smooth.detach())
        return cells, counts
