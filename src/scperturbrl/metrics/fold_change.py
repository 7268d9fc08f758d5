"""Error of predicted fold changes relative to the size of the observed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics._arrays import paired

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# With only a few genes that barely pass the test, the ratio is noise.
MIN_GENES = 10


def lfc_nmae(
    predicted_lfc: ArrayLike, observed_lfc: ArrayLike, *, genes: ArrayLike, min_genes: int = MIN_GENES
) -> float:
    """Mean absolute error of the log fold changes of the responding genes, as a share of their mean absolute size.

    Parameters
    ----------
    predicted_lfc, observed_lfc
        ``(G,)`` log fold changes to any base, such as effects in log-normalised expression.
    genes
        Indices or boolean mask of the genes that respond in the *observed* cells. They must not depend on the
        prediction. Those without a finite observed value are left out.
    min_genes
        Below this number of genes there is no value.

    Returns
    -------
    0 is best and 1 is a prediction of no change; there is no upper bound. NaN below `min_genes` genes, or if none of
    them changes.

    Raises
    ------
    ValueError
        The arrays differ in shape or `min_genes` is below 1.

    Notes
    -----
    The metric ``lfc_nmae`` of the Virtual Cell Challenge 2026 in cell-eval2. A predicted value that is not finite
    counts as no change: leaving the gene out would reward it.

    Examples
    --------
    >>> from scperturbrl.metrics import lfc_nmae
    >>> lfc_nmae([1.0, -1.0, 9.0], [2.0, -2.0, 0.0], genes=[0, 1], min_genes=2)
    0.5
    """
    if min_genes < 1:
        msg = f"`min_genes` is {min_genes}; at least one gene is needed."
        raise ValueError(msg)
    predicted, observed = (values[np.asarray(genes)] for values in paired(predicted_lfc, observed_lfc))
    known = np.isfinite(observed)
    predicted, observed = predicted[known], observed[known]
    size = np.abs(observed).mean() if len(observed) else 0.0
    if len(observed) < min_genes or size == 0:
        return float("nan")
    predicted = np.where(np.isfinite(predicted), predicted, 0.0)
    return float(np.abs(predicted - observed).mean() / size)
