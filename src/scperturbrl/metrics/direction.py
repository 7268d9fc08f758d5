"""Directions of the responding genes, relative to the number of genes that the experiment can detect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics._arrays import paired

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Required share of right directions among the first genes of a ranking. A replicate has about 0.95 among its
# significant genes, so a stricter limit would fail the experiment itself.
PURITY = 0.9


def direction_fidelity(
    predicted_effect: ArrayLike,
    observed_effect: ArrayLike,
    *,
    predicted_padj: ArrayLike,
    observed_padj: ArrayLike,
    alpha: float = 0.05,
    exclude: ArrayLike | None = None,
) -> float:
    """Right directions among significant genes, penalised for too many and too few significant genes.

    Parameters
    ----------
    predicted_effect, observed_effect
        ``(G,)`` effects or test statistics; only their signs count. Zero and NaN are no direction.
    predicted_padj, observed_padj
        ``(G,)`` adjusted p-values of the tests for a response.
    alpha
        A gene is significant if its adjusted p-value is below this.
    exclude
        Indices of genes left out, usually those that the condition targets.

    Returns
    -------
    Number of genes that are significant in the prediction and change in the observed direction, divided by the number
    of significant genes in the prediction or in the observation, whichever is larger. This is the smaller of precision
    and recall of directions, in [0, 1], 1 is best. NaN if no gene is significant in either.

    Raises
    ------
    ValueError
        The arrays differ in shape.

    Notes
    -----
    The metric ``direction_fidelity_yield_raw`` of the Virtual Cell Challenge 2026 in cell-eval2. Genes without an
    observed direction are left out. Test both sides at the same number and depth of cells, as
    :func:`scperturbrl.metrics.match_cells` brings them.

    Examples
    --------
    >>> from scperturbrl.metrics import direction_fidelity
    >>> direction_fidelity(
    ...     [1.0, -1.0, 1.0], [2.0, 1.0, 1.0], predicted_padj=[0.01, 0.01, 0.9], observed_padj=[0.01, 0.01, 0.01]
    ... ).__round__(3)
    0.333
    """
    keep, right, adjudicable = _signs(predicted_effect, observed_effect, exclude)
    p, q = paired(predicted_padj, observed_padj)
    called = (p < alpha) & adjudicable & keep
    total = max(int(called.sum()), int(((q < alpha) & keep).sum()))
    return float((right & called).sum() / total) if total else float("nan")


def direction_reach(
    predicted_effect: ArrayLike,
    observed_effect: ArrayLike,
    *,
    predicted_padj: ArrayLike,
    observed_padj: ArrayLike,
    predicted_p: ArrayLike | None = None,
    alpha: float = 0.05,
    purity: float = PURITY,
    exclude: ArrayLike | None = None,
) -> float:
    """Length of the first part of the prediction's gene ranking in which directions are right.

    Parameters
    ----------
    predicted_effect, observed_effect
        ``(G,)`` effects or test statistics. Zero and NaN are no direction.
    predicted_padj, observed_padj
        ``(G,)`` adjusted p-values.
    predicted_p
        ``(G,)`` p-values before adjustment, which order genes whose adjusted p-values are tied.
    alpha
        A gene responds if its observed adjusted p-value is below this.
    purity
        Smallest share of right directions in a prefix of the ranking.
    exclude
        Indices of genes left out, usually those that the condition targets.

    Returns
    -------
    Length of the longest prefix with a share of at least `purity` right directions, when the responding genes are
    ranked by the prediction. It is a share of all responding genes, in [0, 1], and 1 is best. 0 if there is no such
    prefix; NaN if no gene responds.

    Raises
    ------
    ValueError
        The arrays differ in shape.

    Notes
    -----
    The metric ``direction_reach_raw`` of the Virtual Cell Challenge 2026 in cell-eval2. Genes are ranked by
    significance, then adjusted p-value, p-value, size of the effect and order of genes. By chance the reach is about
    one gene, which is a large share if few genes respond.

    Examples
    --------
    >>> from scperturbrl.metrics import direction_reach
    >>> direction_reach(
    ...     [1.0, 1.0, 1.0, 1.0],
    ...     [1.0, 1.0, -1.0, -1.0],
    ...     predicted_padj=[0.01, 0.02, 0.03, 0.04],
    ...     observed_padj=[0.01] * 4,
    ... )
    0.5
    """
    keep, right, adjudicable = _signs(predicted_effect, observed_effect, exclude)
    effect = np.asarray(predicted_effect, dtype=np.float64)
    p, q = paired(predicted_padj, observed_padj)
    tie = np.zeros_like(p) if predicted_p is None else paired(predicted_p, observed_padj)[0]
    pool = np.flatnonzero((q < alpha) & keep)
    if not len(pool):
        return float("nan")
    p, tie, size = (np.where(np.isnan(values), np.inf, values) for values in (p, tie, -np.abs(effect)))
    order = pool[np.lexsort((pool, size[pool], tie[pool], p[pool], ~(p < alpha)[pool]))]
    depth, hits = np.cumsum(adjudicable[order]), np.cumsum((right & adjudicable)[order])
    pure = (depth > 0) & (hits >= purity * depth - 1e-12)
    return float(depth[pure].max() / len(pool)) if pure.any() else 0.0


def _signs(
    predicted: ArrayLike, observed: ArrayLike, exclude: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of the kept genes, of genes whose directions agree, and of genes with an observed direction."""
    first, second = (np.sign(side) for side in paired(predicted, observed))
    adjudicable = ~np.isnan(second) & (second != 0)
    keep = np.ones(len(first), dtype=bool)
    if exclude is not None:
        keep[np.asarray(exclude, dtype=np.intp)] = False
    return keep, first == second, adjudicable
