"""Conditions with equally many cells, so that one call scores them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

AT_ONCE = 512
"""Number of cells scored in one call. With fewer, the overhead of calls dominates; more do not fit into the cache."""


def side_by_side(
    members: Iterable[tuple[int, np.ndarray]], *, most: int = AT_ONCE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Put conditions with equally many cells together.

    There is no padding, because some verifiers score a cell relative to the others of its group.

    Parameters
    ----------
    members
        Index of a condition, and its cells; an index may occur several times.
    most
        Maximum number of cells in a group; a condition with more is a group of its own.

    Yields
    ------
    Numbers ``(c,)`` of conditions, and the cells ``(c, n)`` of each. Conditions without cells are left out.

    Examples
    --------
    >>> pairs = side_by_side([(0, np.array([5])), (1, np.array([2, 3])), (2, np.array([4]))])
    >>> [(numbers.tolist(), rows.tolist()) for numbers, rows in pairs]
    [([0, 2], [[5], [4]]), ([1], [[2, 3]])]
    """
    by_size: dict[int, list[tuple[int, np.ndarray]]] = {}
    for number, rows in members:
        if len(rows):
            by_size.setdefault(len(rows), []).append((number, rows))
    for size, found in by_size.items():
        step = max(1, most // size)
        for first in range(0, len(found), step):
            numbers, rows = zip(*found[first : first + step], strict=True)
            yield np.array(numbers), np.stack(rows)
