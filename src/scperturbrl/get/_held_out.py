"""The evaluation without rewarded metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.data.evaluation.roles import HELD_OUT, ancestry, metric_roles
from scperturbrl.get._evaluation import evaluation
from scperturbrl.get._read.slots import read_evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


@documented
def held_out(
    adata: AnnData | MuData, *, models: str | Sequence[str] | None = None, modality: str | None = None
) -> pd.DataFrame:
    """Summarise ``uns["evaluation"]`` over conditions, for held-out metrics only.

    A metric must be held out in the table. In addition, no generator of the table, and none of its parents, may have
    been rewarded with this metric or a related one, according to the settings in ``uns``. No option includes other
    metrics.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    models
        Names of models, in this order; all by default.
    {modality}

    Returns
    -------
    As :func:`scperturbrl.get.evaluation`.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If a model does not occur, or no metric is held out.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> row = {"model": "generator", "kind": "generator", "condition": "A", "value": 0.5, "scaled": 0.0}
    >>> adata.uns["evaluation"] = pd.DataFrame(
    ...     [
    ...         {**row, "metric": "mse", "role": "related"},
    ...         {**row, "metric": "discrimination", "role": "held-out"},
    ...     ]
    ... )
    >>> spr.get.held_out(adata)["metric"].tolist()
    ['discrimination']
    """
    adata = pick(adata, modality)
    frame = read_evaluation(adata)
    generators = frame.loc[frame["kind"].astype(str) == "generator", "model"].astype(str).unique()
    trained = [one for key in generators for one in ancestry(adata.uns, key)]
    # hashes are not needed: a role that depends on a network is already in the table
    roles = metric_roles(frame["metric"].astype(str).unique(), trained, {})
    labelled = set(frame.loc[frame["role"].astype(str) == HELD_OUT, "metric"].astype(str))
    rewarded = set(frame.loc[frame["role"].astype(str) != HELD_OUT, "metric"].astype(str))
    metrics = [name for name, role in roles.items() if role == HELD_OUT and name in labelled - rewarded]
    if not metrics:
        msg = "No metric of the evaluation is held out: each was rewarded or is related to a reward."
        raise ValueError(msg)
    return evaluation(adata, metrics=metrics, models=models)
