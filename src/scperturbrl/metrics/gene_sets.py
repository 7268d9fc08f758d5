"""Agreement of predicted and observed enrichment of gene sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from scperturbrl.metrics._arrays import paired
from scperturbrl.metrics._correlation import spearman

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Enrichment(NamedTuple):
    """Outcome of :func:`enrichment` per gene set: `statistic` ``(P,)`` and its `padj` (Benjamini-Hochberg)."""

    statistic: np.ndarray
    padj: np.ndarray


def enrichment(effect: ArrayLike, network: ArrayLike) -> Enrichment:
    """Score gene sets by a univariate linear model of the effect on the weights of their genes.

    Parameters
    ----------
    effect
        ``(G,)`` expression minus control expression, log-normalised.
    network
        ``(G, P)`` weight of every gene in every set, 0 outside.

    Returns
    -------
    t of the slope and adjusted p-value per set; NaN for a set without genes or with the same weight everywhere, and
    everywhere for an effect without variance.

    Raises
    ------
    ValueError
        Effect and network differ in their number of genes.

    Notes
    -----
    The ``ulm`` of decoupler (Badia-i-Mompel et al. 2022).

    Examples
    --------
    >>> from scperturbrl.metrics import enrichment
    >>> result = enrichment([2.0, 1.5, 0.1, -0.2, 0.0, 0.1], [[1], [1], [0], [0], [0], [0]])
    >>> bool(result.statistic[0] > 5)
    True
    """
    values, weights = np.asarray(effect, dtype=np.float64), np.asarray(network, dtype=np.float64)
    if values.ndim != 1 or weights.ndim != 2 or len(values) != len(weights):
        msg = f"Effect {values.shape} and network {weights.shape} do not fit; expected (G,) and (G, P)."
        raise ValueError(msg)
    freedom = len(values) - 2
    centred, slopes = values - values.mean(), weights - weights.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (slopes.T @ centred) / (np.linalg.norm(slopes, axis=0) * np.linalg.norm(centred))
        statistic = r * np.sqrt(freedom / ((1 - r) * (1 + r)))
    padj = np.full(len(statistic), np.nan)
    tested = np.isfinite(statistic)
    if tested.any():
        padj[tested] = false_discovery_control(2 * student_t.sf(np.abs(statistic[tested]), freedom))
    return Enrichment(np.where(tested, statistic, np.nan), padj)


def enrichment_correlation(predicted_effect: ArrayLike, observed_effect: ArrayLike, *, network: ArrayLike) -> float:
    """Rank correlation over gene sets of the predicted and the observed enrichment.

    Parameters
    ----------
    predicted_effect, observed_effect
        ``(G,)`` expression minus control expression, log-normalised.
    network
        ``(G, P)`` weight of every gene in every set, 0 outside.

    Returns
    -------
    Correlation in [-1, 1], 1 is best; NaN below three sets or for a prediction without effect.

    Raises
    ------
    ValueError
        Shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import enrichment_correlation
    >>> network = np.kron(np.eye(4), np.ones((5, 1)))
    >>> observed = network @ [3.0, 2.0, -1.0, 0.0]
    >>> round(enrichment_correlation(2 * observed, observed, network=network), 6)
    1.0
    """
    predicted, observed = paired(predicted_effect, observed_effect)
    first, second = enrichment(predicted, network).statistic, enrichment(observed, network).statistic
    both = ~(np.isnan(first) | np.isnan(second))
    return spearman(first[both], second[both])


def enrichment_recovery(
    predicted_effect: ArrayLike, observed_effect: ArrayLike, *, network: ArrayLike, alpha: float = 0.05
) -> float:
    """Share of the observed enriched gene sets that are also enriched in the predicted effect, in the same direction.

    Parameters
    ----------
    predicted_effect, observed_effect
        ``(G,)`` expression minus control expression, log-normalised.
    network
        ``(G, P)`` weight of every gene in every set, 0 outside.
    alpha
        Largest adjusted p-value of an enriched set.

    Returns
    -------
    Share in [0, 1], 1 is best; NaN where no set is enriched in the observed effect.

    Raises
    ------
    ValueError
        Shapes do not fit.

    Notes
    -----
    It is computed from effects, so the number and spread of the generated cells do not affect it.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import enrichment_recovery
    >>> network = np.kron(np.eye(4), np.ones((5, 1)))
    >>> observed = network @ [3.0, 0.0, -2.5, 0.0] + np.tile([0.1, -0.1, 0.0, 0.05, 0.0], 4)
    >>> enrichment_recovery(observed, observed, network=network)
    1.0
    >>> enrichment_recovery(-observed, observed, network=network)
    0.0
    """
    predicted, observed = paired(predicted_effect, observed_effect)
    first, second = enrichment(predicted, network), enrichment(observed, network)
    wanted = second.padj <= alpha
    if not wanted.any():
        return float("nan")
    found = (first.padj <= alpha) & (np.sign(first.statistic) == np.sign(second.statistic))
    return float(found[wanted].mean())
