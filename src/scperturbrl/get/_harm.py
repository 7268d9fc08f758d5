"""Number of conditions in which a model is farther from real cells than its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.data.evaluation.metric_calibration import CEILING
from scperturbrl.get._read.slots import chosen, read_evaluation
from scperturbrl.metrics.registry import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@documented
def harm(
    adata: AnnData | MuData,
    model: str,
    *,
    reference: str | None = None,
    metrics: str | Sequence[str] = ("energy_distance", "mse"),
    margin: float = 0.03,
    modality: str | None = None,
) -> pd.DataFrame:
    """Count the conditions in which a model has a larger error than its parent.

    A mean over conditions can hide that a model improves many conditions but makes a few much worse.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    model
        The model to check, such as ``"generator_rl"``.
    reference
        The model with which to compare; the parent of `model` by default.
    metrics
        Names of metrics of :data:`scperturbrl.metrics.METRICS`; distances by default.
    margin
        Share by which the error must rise to count as harm.
    {modality}

    Returns
    -------
    One row per metric:

    ``model``, ``reference``, ``metric``
        The compared models and the metric.
    ``harm_rate``, ``n_harmed``, ``n_conditions``
        Share and number of harmed conditions, among those in which both models have a value. A condition is not harmed
        if its error is at most that of the replicate (``split_half``), because smaller differences are noise.
    ``worst_condition``, ``worst_rise``
        Condition with the largest increase of the error, and the increase as a share of the parent's error; ``""`` and
        NaN if no error rises.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If a model or a metric does not occur, `margin` is negative, or `model` has no parent and `reference` is not
        given.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> rows = [("generator", "A", 1.0), ("generator", "B", 1.0), ("tuned", "A", 0.8), ("tuned", "B", 1.1)]
    >>> table = pd.DataFrame(rows, columns=["model", "condition", "value"])
    >>> adata.uns["evaluation"] = table.assign(metric="mse", kind="generator", role="held-out")
    >>> found = spr.get.harm(adata, "tuned", reference="generator", metrics="mse")
    >>> found[["harm_rate", "n_conditions", "worst_condition", "worst_rise"]].round(2).values.tolist()
    [[0.5, 2, 'B', 0.1]]
    """
    adata = pick(adata, modality)
    evaluation = read_evaluation(adata)
    if margin < 0:
        msg = f"`margin` is {margin}; it is the share by which an error must rise, so 0 or more."
        raise ValueError(msg)
    table = evaluation.astype(dict.fromkeys(("model", "condition", "metric"), str))
    models = list(dict.fromkeys(table["model"]))
    chosen("model", model, models)
    other = chosen("reference", parent_of(adata, model) if reference is None else reference, models)[0]
    check_other(model, other)
    known = [name for name in dict.fromkeys(table["metric"]) if name in METRICS]
    rows = []
    for name in chosen("metrics", metrics, known):
        wide = table[table["metric"] == name].pivot_table(index="condition", columns="model", values="value")
        errors = wide.reindex(columns=[model, other, CEILING]).map(METRICS[name].error)
        rows.append({"model": model, "reference": other, "metric": name} | _harmed(errors, margin))
    return pd.DataFrame(rows)


def check_other(model: str, other: str) -> None:
    """Raise if a model would be compared with itself."""
    if model == other:
        msg = f"`reference` is {other!r}, the model itself. Name another model."
        raise ValueError(msg)


def parent_of(adata: AnnData, model: str) -> str:
    """Key of the generator that `model` was made from."""
    found = adata.uns.get(model)
    parent = str(found["params"].get("parent", "")) if isinstance(found, dict) and "params" in found else ""
    if not parent:
        msg = f"{model!r} has no parent in `uns`. Name the model to compare it with as `reference`."
        raise ValueError(msg)
    return parent


def _harmed(errors: pd.DataFrame, margin: float) -> dict[str, Any]:
    """Conditions in which the first column is worse than the second, and worse than the replicate in the third."""
    both = errors[errors.iloc[:, :2].notna().all(axis=1)]
    own, parent, replicate = (both.iloc[:, i].to_numpy(dtype=float) for i in range(3))
    # NaN without a replicate, so that no increase counts as noise
    rise = np.where(own <= np.where(np.isnan(replicate), -np.inf, replicate), 0.0, own - parent)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(rise > 0, rise / np.abs(parent), 0.0)
    harmed = share > margin
    worst = int(share.argmax()) if harmed.any() else None
    return {
        "harm_rate": float(harmed.mean()) if len(both) else np.nan,
        "n_harmed": int(harmed.sum()),
        "n_conditions": len(both),
        "worst_condition": "" if worst is None else str(both.index[worst]),
        "worst_rise": np.nan if worst is None else float(share[worst]),
    }
