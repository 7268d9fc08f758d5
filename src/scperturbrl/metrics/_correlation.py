"""Correlations that return NaN without a warning if they are undefined."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

# Centring a constant vector leaves rounding of about this size relative to its length.
_FLAT = 1e-12


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlate two vectors; NaN below three values (two always agree or disagree fully) or without variance."""
    if len(x) < 3:
        return float("nan")
    x_centred, y_centred = x - x.mean(), y - y.mean()
    x_norm, y_norm = np.linalg.norm(x_centred), np.linalg.norm(y_centred)
    # Written so that a NaN anywhere fails the comparison.
    if not (x_norm > _FLAT * np.linalg.norm(x) and y_norm > _FLAT * np.linalg.norm(y)):
        return float("nan")
    return float(np.clip((x_centred / x_norm) @ (y_centred / y_norm), -1, 1))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Correlate the ranks of two vectors, ties sharing their average rank; NaN as for :func:`pearson`."""
    return pearson(rankdata(x), rankdata(y))
