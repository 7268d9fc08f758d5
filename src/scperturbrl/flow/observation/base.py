"""Base of every observation layer: rates that are bounded and scaled to the total, and cells with the total of real cells."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from scperturbrl.flow.observation.carry import ControlCounts


class Observation(nn.Module, ABC):
    """Turns latent cells into cells with counts, through a rate for each gene.

    Parameters
    ----------
    n_genes
        Number of genes G.
    total
        Sum of a cell's normalised values; 0 where it differs between cells, as in a panel of genes.

    Attributes
    ----------
    max_log_rate
        ``(G,)`` largest value seen in training.
    """

    max_log_rate: Tensor
    # whether the counts of control cells are carried over
    carries = True

    def __init__(self, n_genes: int, total: float) -> None:
        super().__init__()
        self.total = total
        self.register_buffer("max_log_rate", torch.full((n_genes,), torch.inf))

    def log_rate(self, latent: Tensor, residual: Tensor | None = None) -> Tensor:
        """Log rate ``(n, G)`` in normalised units, held below the largest value seen in training."""
        value = self.unbounded_log_rate(latent)
        if residual is not None:
            value = value + residual
        return self.scaled(torch.minimum(value, self.max_log_rate))

    def scaled(self, log_rate: Tensor) -> Tensor:
        """Log rates ``(n, G)`` that add up to the total, if there is one."""
        return log_rate.log_softmax(1) + math.log(self.total) if self.total else log_rate

    def shown(self, counts: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Log-normalised cells of `counts` ``(n, G)``, and the value ``(n,)`` of one count in each.

        If there is a total, the cell is normalised to it like a real one, and the `unit` of its control cell is not used.
        """
        if self.total:
            unit = self.total / counts.sum(1).clamp_min(1)
        return (unit[:, None] * counts).log1p_(), unit

    @abstractmethod
    def unbounded_log_rate(self, latent: Tensor) -> Tensor:
        """Log rate ``(n, G)`` of latent cells ``(n, d)`` before it is bounded and scaled."""

    @abstractmethod
    def condition_residual(self, tokens: Tensor) -> Tensor:
        """What is added to the log rates of each condition ``(C, G)`` for its parts ``(C, L)``. Token 0 adds nothing."""

    @abstractmethod
    def sample(
        self,
        log_rate: Tensor,
        unit: Tensor,
        rng: torch.Generator,
        *,
        control: ControlCounts | None = None,
        differentiable: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Make cells.

        Parameters
        ----------
        log_rate
            ``(n, G)``.
        unit
            ``(n,)`` normalised value of one count in the cell to make.
        rng
            Random generator on the same device.
        control
            The control cells whose counts are carried over, if the layer carries counts; None draws afresh.
        differentiable
            Whether the cells carry a gradient with respect to the rate.

        Returns
        -------
        Log-normalised cells ``(n, G)`` and their counts ``(n, G)``.
        """
