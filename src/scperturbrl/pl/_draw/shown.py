"""Default rows of a plot with very many rows."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

N_TOP = 40


def top_rows(names: Sequence[str], importance: Mapping[str, float] | pd.Series, n_top: int | None) -> list[str]:
    """The `n_top` of `names` with the highest `importance`, in their own order; all if `n_top` is None.

    Names without an importance come last. In case of ties, the first are kept.

    Raises
    ------
    ValueError
        If `n_top` is not a positive integer.
    """
    if n_top is None:
        return list(names)
    if isinstance(n_top, bool) or not isinstance(n_top, Integral) or n_top < 1:
        msg = f"`n_top` is {n_top!r}; it must be an integer of at least 1, or None to show all."
        raise ValueError(msg)
    values = pd.Series(importance, dtype=float).reindex(list(names)).fillna(-np.inf).to_numpy()
    return [names[i] for i in np.sort(np.argsort(-values, kind="stable")[:n_top])]


def rows_label(label: str, n_shown: int, n_all: int, which: str) -> str:
    """Label of the axis of rows. If some are not shown, it says so; `which` describes the shown ones."""
    return label if n_shown == n_all else f"{label}\n({n_shown:,} of {n_all:,} shown: {which})"


def label_height(label: str) -> float:
    """Length of such a label along its axis in inches, at a font size of 10 points."""
    return 0.085 * max(map(len, label.split("\n")))
