"""The evaluation, summarised over conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_choice
from scperturbrl.get._read.labels import SCORE_PREFIX
from scperturbrl.get._read.slots import chosen, read_evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

ROLES = ("rewarded", "related", "held-out")
_LABELS = ["model", "kind", "metric", "role"]
KINDS = ("generator", "prediction", "baseline", "ceiling")


@documented
def evaluation(
    adata: AnnData | MuData,
    *,
    metrics: str | Sequence[str] | None = None,
    models: str | Sequence[str] | None = None,
    wide: str | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Summarise ``uns["evaluation"]`` over conditions.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    metrics
        Names of metrics, in this order; all by default, grouped by role.
    models
        Names of models, in this order; all by default: generators, other predictions, baselines, the ceiling.
    wide
        Name of a column, such as ``"scaled_median"``. The result is then a table of this column, with models in rows
        and metrics in columns.
    {modality}

    Returns
    -------
    One row per model and metric, unless `wide`:

    ``model``, ``kind``, ``metric``, ``role``
        As in ``uns["evaluation"]``.
    ``median``, ``q25``, ``q75``
        Quantiles of the raw metric over conditions.
    ``scaled_median``, ``scaled_q25``, ``scaled_q75``
        The same for scaled scores: 0 is the mean-response baseline, 1 the replicate ceiling; not clipped.
    ``n_conditions``
        Number of conditions with a raw value.
    ``calibrated``
        Whether the metric can discriminate a replicate from the mean response on these data, if this was computed; see
        :func:`~scperturbrl.get.metric_calibration`.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If a metric, a model or a column does not occur.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> row = {"model": "generator", "kind": "generator", "metric": "mse", "role": "held-out", "n_cells": 30}
    >>> adata.uns["evaluation"] = pd.DataFrame(
    ...     [
    ...         {**row, "condition": "A", "value": 0.5, "scaled": 0.0},
    ...         {**row, "condition": "B", "value": 0.3, "scaled": 0.4},
    ...     ]
    ... )
    >>> spr.get.evaluation(adata)[["model", "metric", "median", "scaled_median", "n_conditions"]]
           model metric  median  scaled_median  n_conditions
    0  generator    mse     0.4            0.2             2
    """
    adata = pick(adata, modality)
    frame = read_evaluation(adata).astype({"model": str, "kind": str, "metric": str, "role": str})
    wanted_metrics = chosen("metrics", metrics, metric_order(frame))
    wanted_models = chosen("models", models, model_order(frame))
    frame = frame[frame["metric"].isin(wanted_metrics) & frame["model"].isin(wanted_models)]
    grouped = frame.groupby(_LABELS, observed=True, sort=False)
    summary = pd.concat(
        [
            _quantiles(grouped["value"], ""),
            _quantiles(grouped["scaled"], "scaled_"),
            grouped["value"].count().rename("n_conditions"),
        ],
        axis=1,
    ).reset_index()
    if "calibrated" in frame:
        summary["calibrated"] = summary["metric"].map(frame.groupby("metric")["calibrated"].any())
    if wide is not None:
        check_choice("wide", wide, [name for name in summary if name not in _LABELS])
        table = summary.pivot_table(index="model", columns="metric", values=wide, dropna=False)
        return table.loc[wanted_models, wanted_metrics]
    rank = pd.DataFrame(
        {"metric": summary["metric"].map(wanted_metrics.index), "model": summary["model"].map(wanted_models.index)}
    )
    return summary.loc[rank.sort_values(["metric", "model"]).index].reset_index(drop=True)


def _quantiles(grouped: pd.core.groupby.SeriesGroupBy, prefix: str) -> pd.DataFrame:
    # unstacking one quantile at a time keeps groups with only NaN
    named = {"median": 0.5, "q25": 0.25, "q75": 0.75}
    return pd.DataFrame({prefix + name: grouped.quantile(share) for name, share in named.items()})


def metric_order(frame: pd.DataFrame) -> list[str]:
    """Metrics sorted by role, with verifier scores first within a role, otherwise in their original order."""
    first = frame.drop_duplicates("metric")
    role = first["role"].map({name: i for i, name in enumerate(ROLES)}).fillna(len(ROLES))
    order = pd.DataFrame({"role": role, "own": ~first["metric"].str.startswith(SCORE_PREFIX)})
    return first.loc[order.sort_values(["role", "own"], kind="stable").index, "metric"].tolist()


def model_order(frame: pd.DataFrame) -> list[str]:
    """Models sorted by kind, otherwise in their original order."""
    first = frame.drop_duplicates("model")
    kind = first["kind"].map({name: i for i, name in enumerate(KINDS)}).fillna(len(KINDS))
    return first.loc[kind.sort_values(kind="stable").index, "model"].tolist()
