"""Differences between models over conditions, with their uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._read.slots import chosen, read_evaluation
from scperturbrl.metrics.bootstrap import paired_bootstrap
from scperturbrl.metrics.registry import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@documented
def differences(
    adata: AnnData | MuData | pd.DataFrame,
    model: str,
    *,
    reference: str | Sequence[str],
    metrics: str | Sequence[str] | None = None,
    column: str = "value",
    confidence: float = 0.95,
    n_resamples: int = 5000,
    seed: int = 0,
    modality: str | None = None,
) -> pd.DataFrame:
    """Compare a model with others, condition by condition, with a paired bootstrap over conditions.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`, or its table ``uns["evaluation"]``. Tables of several seeds
        can be joined.
    model
        The model to compare.
    reference
        Model or models to compare it with, such as ``["additive_ridge", "generator"]``.
    metrics
        Names of metrics; all by default.
    column
        ``"value"`` or ``"scaled"``.
    confidence
        Coverage of the interval.
    n_resamples
        Number of resamples of the conditions.
    seed
        Seed of the resamples.
    {modality}

    Returns
    -------
    One row per reference and metric:

    ``model``, ``reference``, ``metric``, ``role``
        The compared models and the metric.
    ``difference``
        Mean over conditions of the model's value minus the reference's. Values of one condition under several seeds are
        averaged first.
    ``low``, ``high``, ``p_value``
        Percentile interval and two-sided p-value of the bootstrap, see :func:`scperturbrl.metrics.paired_bootstrap`. Not
        corrected for the number of rows.
    ``verdict``
        ``"better"`` or ``"worse"`` if the interval of the difference of *errors* excludes 0, else ``"tie"``. Empty
        with fewer than two conditions. ``"uncalibrated"`` if the metric cannot discriminate a replicate from the mean
        response on these data, see :func:`scperturbrl.get.metric_calibration`.
    ``n_conditions``
        Number of conditions in which both models have a value.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If a model, a metric or the column does not occur.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> rows = [
    ...     (m, c, v) for m, shift in (("mine", 0.0), ("additive", 0.2)) for c, v in (("A", shift), ("B", 0.1 + shift))
    ... ]
    >>> table = pd.DataFrame(rows, columns=["model", "condition", "value"]).assign(metric="mse", role="held-out")
    >>> found = spr.get.differences(table, "mine", reference="additive")
    >>> found[["metric", "difference", "verdict", "n_conditions"]].round(3).values.tolist()
    [['mse', -0.2, 'better', 2]]
    """
    if not isinstance(adata, pd.DataFrame):
        adata = pick(adata, modality)
    table = _table(adata)
    options = [name for name in ("value", "scaled") if name in table]
    chosen("column", column, options)
    models = list(dict.fromkeys(table["model"]))
    chosen("model", model, models)
    settings = {"confidence": confidence, "n_resamples": n_resamples, "seed": seed}
    rows = []
    for name in chosen("metrics", metrics, list(dict.fromkeys(table["metric"]))):
        part = table[table["metric"] == name]
        wide = part.pivot_table(index=_units(part), columns="model", values=column, dropna=False).reindex(
            columns=models
        )
        for other in chosen("reference", reference, models):
            label = {"model": model, "reference": other, "metric": name, "role": part["role"].iloc[0]}
            found = _compared(wide, model, other, name if column == "value" else None, settings)
            if found["verdict"] and "calibrated" in part and not part["calibrated"].any():
                found["verdict"] = "uncalibrated"
            rows.append(label | found)
    return pd.DataFrame(rows)


def _table(adata: AnnData | pd.DataFrame) -> pd.DataFrame:
    table = adata if isinstance(adata, pd.DataFrame) else read_evaluation(adata)
    return table.astype(dict.fromkeys(("model", "condition", "metric", "role"), str))


def _units(table: pd.DataFrame) -> list[str]:
    return [name for name in ("suite", "dataset", "condition", "seed") if name in table]


def _compared(
    wide: pd.DataFrame, model: str, other: str, metric: str | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Difference of the values, and the verdict on the difference of the errors."""
    both = wide[[model, other]].dropna() if model != other else wide[[model]].dropna()
    index = both.index.to_frame(index=False).drop(columns="seed", errors="ignore")
    groups = list(index.itertuples(index=False, name=None))
    raw = paired_bootstrap(both[model], both[other], groups=groups, **settings)
    error = METRICS[metric].error if metric and metric in METRICS else lambda value: -value
    errors = paired_bootstrap(both[model].map(error), both[other].map(error), groups=groups, **settings)
    verdict = "" if raw.n_units < 2 else "better" if errors.high < 0 else "worse" if errors.low > 0 else "tie"
    return {
        "difference": raw.difference,
        "low": raw.low,
        "high": raw.high,
        "p_value": raw.p_value,
        "verdict": verdict,
        "n_conditions": raw.n_units,
    }
