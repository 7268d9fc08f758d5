"""Cells of every condition, found in one pass."""

from __future__ import annotations

import numpy as np


def rows_of(codes: np.ndarray, n: int, use: np.ndarray | None = None) -> list[np.ndarray]:
    """Return the ascending indices of each of `n` codes in `codes` ``(n_cells,)``.

    If `use` ``(n_cells,)`` is given, only where it is true. Searching for each code separately would take time
    proportional to cells times conditions.

    Examples
    --------
    >>> [list(map(int, rows)) for rows in rows_of(np.array([1, 0, 1]), 3)]
    [[1], [0, 2], []]
    """
    places = np.arange(len(codes)) if use is None else np.flatnonzero(use)
    order = places[np.argsort(codes[places], kind="stable")]
    return np.split(order, np.searchsorted(codes[order], np.arange(1, n)))
