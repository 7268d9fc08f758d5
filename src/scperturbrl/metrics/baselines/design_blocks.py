"""Ridge regression in blocks, for designs whose conditions have few parts in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

# Number of perturbations solved together: with smaller blocks, the overhead of calls dominates.
_TOGETHER = 64


@dataclass(frozen=True)
class DesignBlock:
    """Conditions that share no perturbation with any other, as a decomposition of their part of the design.

    Attributes
    ----------
    rows, columns
        Conditions ``(n,)`` and perturbations ``(p,)`` of the block.
    left, square, right
        ``(n, r)``, ``(r,)`` and ``(p, r)``: left singular vectors, squares of the singular values, and right singular
        vectors.
    projected
        ``(r, G)`` effects along the left vectors.
    rest
        ``(n, G)`` residuals of the effects.
    """

    rows: np.ndarray
    columns: np.ndarray
    left: np.ndarray
    square: np.ndarray
    right: np.ndarray
    projected: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, design: np.ndarray, effects: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> DesignBlock:
        """Decompose the block at `rows` and `columns` of ``(C, P)`` by the smaller of its two Gram matrices."""
        own, target = design[np.ix_(rows, columns)], effects[rows]
        wide = own.shape[1] > own.shape[0]
        square, vectors = np.linalg.eigh(own @ own.T if wide else own.T @ own)
        kept = square > square.max(initial=0) * len(square) * np.finfo(float).eps
        square, vectors = square[kept], vectors[:, kept]
        others = (own.T if wide else own) @ vectors / np.sqrt(square)
        left, right = (vectors, others) if wide else (others, vectors)
        projected = left.T @ target
        return cls(rows, columns, left, square, right, projected, target - left @ projected)

    def coefficients(self, alpha: float) -> np.ndarray:
        """Effects ``(p, G)`` of the perturbations under the penalty `alpha`."""
        return self.right @ ((np.sqrt(self.square) / (self.square + alpha))[:, None] * self.projected)

    def left_out_error(self, alpha: float) -> np.ndarray:
        """Error ``(n, G)`` of each condition as predicted from the others."""
        residual = self.rest + self.left @ (self._lost(alpha)[:, None] * self.projected)
        return residual / self._freedom(alpha)[:, None]

    def squared_error(self, alpha: float) -> float:
        """Sum of the squares of :meth:`left_out_error`."""
        if len(self.square) >= self.projected.shape[1]:
            return float(np.square(self.left_out_error(alpha)).sum())
        # squares of residuals without the residuals, so that products over genes are computed once for all penalties
        lost = self.left * self._lost(alpha)
        square = self._rest_square + ((lost @ self._gram + 2 * self._cross) * lost).sum(1)
        return float((np.maximum(square, 0) / np.square(self._freedom(alpha))).sum())

    def _lost(self, alpha: float) -> np.ndarray:
        """Share of the effects along each axis that the penalty removes."""
        return alpha / (self.square + alpha)

    def _freedom(self, alpha: float) -> np.ndarray:
        # The leverage of a condition with a unique perturbation approaches 1 as the penalty approaches 0.
        return np.maximum(1 - np.square(self.left) @ (self.square / (self.square + alpha)), 1e-14)

    @cached_property
    def _gram(self) -> np.ndarray:
        return self.projected @ self.projected.T

    @cached_property
    def _cross(self) -> np.ndarray:
        return self.rest @ self.projected.T

    @cached_property
    def _rest_square(self) -> np.ndarray:
        return np.square(self.rest).sum(1)


def design_blocks(design: np.ndarray, effects: np.ndarray) -> list[DesignBlock]:
    """Blocks of a design ``(C, P)`` with its effects ``(C, G)``.

    Conditions belong together if a chain of common perturbations connects them. Small groups of them share a block.

    Examples
    --------
    >>> design = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    >>> [block.rows.tolist() for block in design_blocks(design, np.ones((3, 2)))]
    [[0, 1, 2]]
    """
    n_rows, n_columns = design.shape
    edges = sparse.coo_matrix(design)
    graph = sparse.coo_matrix((np.ones(edges.nnz), (edges.row, n_rows + edges.col)), [n_rows + n_columns] * 2)
    n, label = connected_components(graph, directed=False)
    of_row, of_column = label[:n_rows], label[n_rows:]
    size = np.maximum(np.bincount(of_row, minlength=n), np.bincount(of_column, minlength=n))
    shared = _shared(size)
    blocks = [(np.flatnonzero(shared[of_row] == b), np.flatnonzero(shared[of_column] == b)) for b in np.unique(shared)]
    return [DesignBlock.of(design, effects, rows, columns) for rows, columns in blocks if len(rows)]


def _shared(size: np.ndarray) -> np.ndarray:
    """Block of each connected component; a new block starts when the current one is large enough."""
    found, block, filled = np.empty(len(size), dtype=int), 0, 0
    for component, own in enumerate(size):
        if filled and filled + own > _TOGETHER:
            block, filled = block + 1, 0
        found[component] = block
        filled += own
    return found
