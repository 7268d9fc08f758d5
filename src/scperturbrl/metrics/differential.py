"""Agreement of predicted and observed differentially expressed genes, and of their directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from scperturbrl.metrics._arrays import gene_variance, mean_profile, paired, populations
from scperturbrl.metrics._correlation import spearman

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class WelchTest(NamedTuple):
    """Per-gene outcome of :func:`welch_t`, each ``(G,)``.

    Attributes
    ----------
    statistic
        t, positive where the gene is higher in the perturbed cells.
    p_value
        Two-sided.
    padj
        Benjamini-Hochberg over the genes with a p-value.
    """

    statistic: np.ndarray
    p_value: np.ndarray
    padj: np.ndarray


def welch_t(cells: ArrayLike, control: ArrayLike) -> WelchTest:
    """Test every gene for a difference of means, without assuming equal variances.

    Parameters
    ----------
    cells, control
        ``(n, G)`` perturbed and ``(m, G)`` control cells, log-normalised expression.

    Returns
    -------
    Statistic, p-value and adjusted p-value per gene. NaN where both variances and the difference are zero, and
    everywhere when one population has fewer than two cells.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Notes
    -----
    The p-value decreases with more cells and with less spread, so test equally many predicted and observed cells. In a
    collapsed population, every gene is significant.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import welch_t
    >>> rng = np.random.default_rng(0)
    >>> test = welch_t(rng.normal([2.0, 0.0], 1.0, (50, 2)), rng.normal(0.0, 1.0, (80, 2)))
    >>> (test.padj < 0.05).tolist()
    [True, False]
    """
    first, second = populations(cells, control)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = gene_variance(first) / len(first), gene_variance(second) / len(second)
        statistic = (mean_profile(first) - mean_profile(second)) / np.sqrt(a + b)
        freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
        # Without variance the degrees of freedom are 0/0; an infinite statistic has p = 0 for any value of them.
        p_value = 2 * student_t.sf(np.abs(statistic), np.where(np.isfinite(freedom), freedom, 1.0))
    padj = np.full_like(p_value, np.nan)
    tested = np.isfinite(p_value)
    if tested.any():
        padj[tested] = false_discovery_control(p_value[tested])
    return WelchTest(statistic, p_value, padj)


def top_genes(statistic: ArrayLike, *, k: int, exclude: ArrayLike | None = None) -> np.ndarray:
    """Genes with the largest absolute statistic.

    Parameters
    ----------
    statistic
        ``(G,)`` test statistic or effect. Genes where it is NaN are never chosen.
    k
        Maximum number of genes.
    exclude
        Indices of genes never to choose, such as those that the perturbation targets.

    Returns
    -------
    Up to `k` indices, largest first; ties in gene order.

    Examples
    --------
    >>> from scperturbrl.metrics import top_genes
    >>> top_genes([0.1, -3.0, 2.0, float("nan")], k=2).tolist()
    [1, 2]
    """
    size = np.abs(np.asarray(statistic, dtype=np.float64))
    allowed = ~np.isnan(size)
    if exclude is not None:
        allowed[np.asarray(exclude, dtype=np.intp)] = False
    order = np.argsort(-size, kind="stable")
    return order[allowed[order]][:k]


def de_spearman(predicted_effect: ArrayLike, observed_effect: ArrayLike, *, genes: ArrayLike) -> float:
    """Rank correlation of predicted and observed effects over the observed differentially expressed genes.

    Parameters
    ----------
    predicted_effect, observed_effect
        ``(G,)`` expression minus control expression, log-normalised. `observed_effect` may be a test statistic.
    genes
        Indices or boolean mask of the observed differentially expressed genes.

    Returns
    -------
    Correlation in [-1, 1], 1 is best; NaN below three genes or where either is constant.

    Raises
    ------
    ValueError
        The effects differ in shape.

    Notes
    -----
    The definition that cell-eval calls ``de_spearman_lfc_sig``, per condition. It is not the correlation of the number
    of significant genes over conditions, which goes by a similar name.

    Examples
    --------
    >>> from scperturbrl.metrics import de_spearman
    >>> round(de_spearman([3.0, 1.0, -2.0, 0.0], [9.0, 2.0, -1.0, 5.0], genes=[0, 1, 2]), 3)
    1.0
    """
    predicted, observed = paired(predicted_effect, observed_effect)
    chosen = np.asarray(genes)
    return spearman(predicted[chosen], observed[chosen])


def de_overlap(predicted_effect: ArrayLike, observed_effect: ArrayLike, *, k: int) -> float:
    """Share of the `k` strongest observed genes that are among the `k` strongest predicted ones.

    Parameters
    ----------
    predicted_effect, observed_effect
        ``(G,)`` expression minus control expression, log-normalised.
    k
        Size of both sets; at most the number of genes is used.

    Returns
    -------
    Overlap in [0, 1], 1 is best and k / G is chance; NaN where an effect is NaN.

    Raises
    ------
    ValueError
        The effects differ in shape or `k` is below 1.

    Notes
    -----
    Genes are ranked by effect size and not by significance, so the number and spread of the generated cells do not
    affect it. A gene without a predicted change is never in the set, so predicting the control scores 0.

    Examples
    --------
    >>> from scperturbrl.metrics import de_overlap
    >>> de_overlap([5.0, -4.0, 0.1, 0.0], [-3.0, 0.2, 2.0, 0.1], k=2)
    0.5
    """
    predicted, observed = paired(predicted_effect, observed_effect)
    if k < 1:
        msg = f"`k` is {k}; at least one gene is needed."
        raise ValueError(msg)
    if len(predicted) == 0 or np.isnan(predicted).any() or np.isnan(observed).any():
        return float("nan")
    strongest = top_genes(predicted, k=k)
    found = np.intersect1d(strongest[predicted[strongest] != 0], top_genes(observed, k=k))
    return len(found) / min(k, len(predicted))


def direction_match(predicted_effect: ArrayLike, observed_effect: ArrayLike, *, genes: ArrayLike) -> float:
    """Share of the observed differentially expressed genes predicted to change in the right direction.

    Parameters
    ----------
    predicted_effect, observed_effect
        ``(G,)`` expression minus control expression, log-normalised.
    genes
        Indices or boolean mask of the observed differentially expressed genes; those without an observed effect
        are left out.

    Returns
    -------
    Share in [0, 1], 1 is best and 0.5 chance. A gene predicted not to change counts as wrong. NaN without genes or
    where an effect is NaN.

    Raises
    ------
    ValueError
        The effects differ in shape.

    Examples
    --------
    >>> from scperturbrl.metrics import direction_match
    >>> direction_match([1.0, 1.0, 0.0, -2.0], [0.1, -1.0, 2.0, -0.3], genes=[0, 1, 2, 3])
    0.5
    """
    predicted, observed = (effect[np.asarray(genes)] for effect in paired(predicted_effect, observed_effect))
    moved = observed != 0
    if not moved.any() or np.isnan(predicted).any() or np.isnan(observed).any():
        return float("nan")
    return float((np.sign(predicted) == np.sign(observed))[moved].mean())
