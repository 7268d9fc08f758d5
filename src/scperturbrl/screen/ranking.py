"""Ranks of candidates, their probability of being among the best, and their nearest measured conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse, stats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scperturbrl.screen.conditions import Conditions, Measured

N_DRAWS = 400


def ranks(value: np.ndarray) -> np.ndarray:
    """Rank ``(n,)`` of each candidate by descending value, 1 is best; candidates without a value come last."""
    order = np.argsort(-np.nan_to_num(value, nan=-np.inf), kind="stable")
    found = np.empty(len(value), dtype=int)
    found[order] = np.arange(1, len(value) + 1)
    return found


def top_probability(
    value: np.ndarray, kind: np.ndarray, residuals: Mapping[str, np.ndarray], k: int, rng: np.random.Generator
) -> np.ndarray:
    """Probability ``(n,)`` that a candidate is among the `k` best, NaN if its error is unknown.

    Every draw adds to each value a residual of a left-out condition of the same kind, with random sign. Candidates
    without residuals keep their value.

    Parameters
    ----------
    value, kind
        ``(n,)``
    residuals
        Measured minus predicted objective of conditions left out, by kind.
    k
        How many are the best.
    rng
        Source of the draws.
    """
    usable = np.flatnonzero(np.isfinite(value))
    k, hits = min(k, len(usable)), np.zeros(len(value))
    rows = {name: np.flatnonzero(kind[usable] == name) for name in residuals if len(residuals[name])}
    for _ in range(N_DRAWS if k else 0):
        drawn = value[usable].copy()
        for name, own in rows.items():
            drawn[own] += rng.choice(residuals[name], len(own)) * rng.choice([-1.0, 1.0], len(own))
        hits[usable[np.argpartition(-drawn, k - 1)[:k]]] += 1
    known = np.isin(kind, list(rows)) & np.isfinite(value)
    return np.where(known, hits / N_DRAWS, np.nan)


def nearest_measured(conditions: Conditions, effects: np.ndarray, measured: Measured, n: int = 3) -> np.ndarray:
    """Indices ``(n_conditions, n)`` of the measured conditions that share most parts, then those with similar effects.

    Parameters
    ----------
    conditions, effects
        Candidates, and their predicted effects ``(n_conditions, G)``.
    measured
        Training conditions.
    n
        How many.
    """
    width = int(max(conditions.codes.max(initial=0), measured.conditions.codes.max(initial=0))) + 1
    own, theirs = _membership(conditions, width), _membership(measured.conditions, width)
    shared = (own @ theirs.T).toarray()
    overlap = shared / (conditions.n_parts[:, None] + measured.conditions.n_parts - shared)
    scores = effects @ measured.directions.T.astype(np.float32)
    norms = np.linalg.norm(effects, axis=1)[:, None] * np.linalg.norm(measured.scores, axis=1)
    cosine = scores @ measured.scores.T.astype(np.float32) / np.maximum(norms, 1e-12)
    same = conditions.group[:, None] == measured.conditions.group
    likeness = overlap + 0.1 * same + 0.05 * cosine
    n = min(n, len(measured))
    some = (
        np.argpartition(-likeness, n - 1, axis=1)[:, :n]
        if n < len(measured)
        else np.tile(np.arange(n), (len(conditions), 1))
    )
    order = np.argsort(-np.take_along_axis(likeness, some, 1), axis=1, kind="stable")
    return np.take_along_axis(some, order, 1)


def _membership(conditions: Conditions, width: int) -> sparse.csr_matrix:
    rows, slots = np.nonzero(conditions.codes >= 0)
    return sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, conditions.codes[rows, slots])), shape=(len(conditions), width)
    )


def spread_of(values: np.ndarray) -> float:
    """Standard deviation over cells; NaN for one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def normal_width(standard_error: float, level: float) -> float:
    """Half the width of an interval around a measured value."""
    return float(stats.norm.ppf(0.5 + level / 2) * standard_error)
