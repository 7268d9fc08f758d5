"""Cells of every condition, found in one pass."""

from __future__ import annotations

import numpy as np


def rows_of(codes: np.ndarray, n: int, use: np.ndarray | None = None) -> list[np.ndarray]:
    """For each of `n` codes the places, in rising order, at which `codes` ``(n_cells,)`` has it.

    Only where `use` ``(n_cells,)`` is true, if it is given. Looking for each code on its own would take time in proportion to
    cells times conditions.

    Examples
    --------
    >>> [list(map(int, rows)) for rows in rows_of(np.array([1, 0, 1]), 3)]
    [[1], [0, 2], []]
    """
    places = np.arange(len(codes)) if use is None else np.flatnonzero(use)
    order = places[np.argsort(codes[places], kind="stable")]
    return np.split(order, np.searchsorted(codes[order], np.arange(1, n)))
