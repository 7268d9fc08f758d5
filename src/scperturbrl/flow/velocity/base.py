"""Base class of velocity fields: arguments and precision."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

BACKBONES = ("mlp", "transformer")
PRECISIONS = ("float32", "bfloat16")


class Velocity(nn.Module, ABC):
    """Velocity ``v(x_t, t | control cell, condition)`` in a space of d coordinates.

    Attributes
    ----------
    precision
        ``"float32"``, or ``"bfloat16"`` for matrix products in half the bits; weights and results stay in single precision.
    """

    def __init__(self, precision: str = "float32") -> None:
        super().__init__()
        self.precision = precision

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        control: Tensor,
        code: Tensor,
        total: Tensor,
        genes: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Velocity ``(n, d)``.

        Parameters
        ----------
        x
            ``(n, d)`` points on the path.
        t
            ``(n,)`` times, 0 noise and 1 cell; with `index` ``(1,)``, the same for all cells.
        control
            ``(n, d)`` the control cells.
        code, total
            ``(n, width)`` condition code and plain sum of its parts, from the condition encoder. The latter enters
            linearly: most of an effect is a shift. With `index` ``(C, width)``.
        genes
            ``(d',)`` the coordinates in `x` and `control`, if training uses some of the genes; None means all.
        index
            ``(n,)`` condition of each cell. Terms that depend only on time and condition are then computed per
            condition instead of per cell, which halves the work if there are few conditions.
        """
        if self.precision == "float32":
            return self.velocity(x, t, control, code, total, genes, index)
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return self.velocity(x, t, control, code, total, genes, index).float()

    @abstractmethod
    def velocity(
        self,
        x: Tensor,
        t: Tensor,
        control: Tensor,
        code: Tensor,
        total: Tensor,
        genes: Tensor | None,
        index: Tensor | None,
    ) -> Tensor:
        """Compute :meth:`forward` in the current precision."""

    def check(self) -> None:
        """Raise ``ValueError`` for weights from a file that are impossible results of training."""

    def drawn_genes(self, n: int | None, rng: torch.Generator) -> Tensor | None:
        """`n` random coordinates for one training step, on the device of `rng`; None means all of them."""
        del n, rng
        return None


def of_cells(values: Tensor, index: Tensor | None) -> Tensor:
    """Rows of `values` for the cells at `index`, unless there is already one row per cell."""
    return values if index is None else values.index_select(0, index)
