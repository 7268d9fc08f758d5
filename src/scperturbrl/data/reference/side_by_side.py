"""Conditions with equally many cells, so that one call scores them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

AT_ONCE = 512
"""Cells scored in one call. With fewer the calls cost more than the work; with more, what they work on leaves the cache."""


def side_by_side(
    members: Iterable[tuple[int, np.ndarray]], *, most: int = AT_ONCE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Put conditions with equally many cells together.

    Nothing is padded, because some verifiers score a cell among the others of its group.

    Parameters
    ----------
    members
        Number of a condition, and its cells; a number may come again.
    most
        Cells put together at most; a condition that has more comes alone.

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
