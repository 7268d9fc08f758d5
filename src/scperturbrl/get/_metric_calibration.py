"""Which metrics of an evaluation can discriminate a replicate from the mean response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.data.evaluation.metric_calibration import COLUMNS
from scperturbrl.get._evaluation import metric_order
from scperturbrl.get._read.slots import read_evaluation

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


@documented
def metric_calibration(adata: AnnData | MuData, *, modality: str | None = None) -> pd.DataFrame:
    """List which metrics can discriminate on these data.

    Two predictions of one half of the real cells of a condition are compared: the other half, and the mean response of
    all training conditions. The first is a replicate experiment; the second does not depend on the condition. A metric
    that does not prefer the first cannot identify a good model.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    {modality}

    Returns
    -------
    One row for each metric, in the order of :func:`~scperturbrl.get.evaluation`:

    ``metric``, ``role``
        As in ``uns["evaluation"]``.
    ``calibrated``
        Whether the replicate is better in at least three of four conditions. Other metrics get no verdict in
        :func:`~scperturbrl.get.differences`. Metrics of spread are seldom calibrated, because the mean response keeps the
        spread of control cells. Use them to check cells, not to compare models.
    ``told_apart``
        Share of the conditions in which the replicate is better, of those where both have a value.
    ``dynamic_range``
        Position of the replicate between the mean response (0) and a perfect prediction (1): the median over
        conditions, in [-1, 1]. NaN for scores of verifiers, which have no perfect value.

    Raises
    ------
    KeyError
        If nothing was evaluated, or if the version used for the evaluation did not calibrate metrics.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> row = {"model": "generator", "kind": "generator", "condition": "A", "metric": "mse", "role": "held-out"}
    >>> adata.uns["evaluation"] = pd.DataFrame([{**row, "calibrated": True, "told_apart": 1.0, "dynamic_range": 0.8}])
    >>> spr.get.metric_calibration(adata)
      metric      role  calibrated  told_apart  dynamic_range
    0    mse  held-out        True         1.0            0.8
    """
    adata = pick(adata, modality)
    table = read_evaluation(adata)
    if not set(COLUMNS) <= set(table):
        msg = f'`uns["{keys.EVALUATION}"]` has no column {COLUMNS[0]!r}. Call `scperturbrl.tl.evaluate(adata)` again.'
        raise KeyError(msg)
    table = table.astype({"metric": str, "role": str})
    first = table.drop_duplicates("metric").set_index("metric").loc[metric_order(table)]
    return first[["role", *COLUMNS]].reset_index()
