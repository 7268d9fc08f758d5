"""Cells of one condition, limited in number, with the exact mean of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scperturbrl.data.cells.draw import shuffled

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells

_ROWS = 1024


class Population(NamedTuple):
    """Cells of one condition, as a model predicts them or as they were measured.

    Attributes
    ----------
    model, kind
        Name and kind of their source: generator, prediction, baseline, ceiling or observed.
    cells
        ``(n, G)`` dense float32, at most the maximum number.
    mean
        ``(G,)`` mean of all cells before subsampling; the mean of `cells` if None.
    n_cells
        Their number before subsampling; that of `cells` if None.
    """

    model: str
    kind: str
    cells: np.ndarray
    mean: np.ndarray | None = None
    n_cells: int | None = None

    @property
    def centre(self) -> np.ndarray:
        """Mean ``(G,)`` of all cells."""
        return self.cells.mean(0, dtype=np.float64) if self.mean is None else self.mean

    @property
    def total(self) -> int:
        """Number of cells before subsampling."""
        return len(self.cells) if self.n_cells is None else self.n_cells


def population_order(cells: Cells, index: np.ndarray, seed: int) -> np.ndarray:
    """The rows at `index` in random order; the first ones are compared as cells."""
    return shuffled(cells, index, seed, "cells of a population")


def draw_population(
    model: str, kind: str, cells: Cells, index: np.ndarray, *, matrix: Any = None, max_cells: int
) -> Population:
    """Read the rows at `index` of the expression, or of another matrix over the same genes, in blocks.

    The first `max_cells` are kept, so they must be in random order. The mean is that of all rows.
    """
    n = len(index)
    if n <= max_cells:
        return Population(model, kind, cells.block(index, matrix))
    return Population(model, kind, cells.block(index[:max_cells], matrix), mean_of(cells, index, matrix=matrix), n)


def mean_of(cells: Cells, index: np.ndarray, *, matrix: Any = None) -> np.ndarray:
    """Mean ``(G,)`` of the rows at `index`, which may repeat, of the expression or of another matrix over the same genes."""
    total = np.zeros(len(cells.genes))
    # sorted, because a file is read fastest in its own order
    rows = np.sort(index)
    for start in range(0, len(rows), _ROWS):
        total += cells.block(rows[start : start + _ROWS], matrix).sum(axis=0, dtype=np.float64)
    return total / len(rows)
