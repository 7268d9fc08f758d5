"""Effect of post-training: the share of the gap to real cells that it closed, and the change of the distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.data.evaluation.metric_calibration import CEILING
from scperturbrl.get._harm import check_other, harm, parent_of
from scperturbrl.get._read.labels import SCORE_PREFIX
from scperturbrl.get._read.slots import chosen, read_evaluation
from scperturbrl.metrics.bootstrap import ratio_interval

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

DISTANCES = ("energy_distance", "mmd")
PASSED = 0.01
"""Margin above the score of real cells beyond which a score counts as exceeding them."""


@documented
def gap_closed(
    adata: AnnData | MuData,
    model: str,
    *,
    reference: str | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    modality: str | None = None,
) -> pd.DataFrame:
    """Measure which share of the gap between a generator and real cells another generator closes, and how the distance changes.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    model
        The model to assess, such as ``"generator_rl"``.
    reference
        The model that it is compared with. By default the parent of `model` after extra training, if that was evaluated, else the parent.
    confidence
        Coverage of the interval.
    seed
        Seed of the resamples.
    {modality}

    Returns
    -------
    One row for the score of each verifier, then for energy distance and MMD:

    ``model``, ``reference``, ``metric``
        What is compared.
    ``kind``
        ``"gap closed"`` or ``"ratio"``.
    ``value``, ``low``, ``high``
        Of a score: the mean rise over conditions, divided by the mean gap between real cells (``split_half``) and `reference`. 0 is no
        change, 1 is the score of real cells. NaN if `reference` is not below real cells. Of a distance: its mean divided by that of
        `reference`; below 1 is better. The interval is a percentile bootstrap over conditions; NaN where the gap is too small for one.
    ``harm_rate``
        Of a score: share of conditions in which `model` is above real cells by more than 0.01 and `reference` is not. Of a distance:
        share of conditions in which it rises by more than 3 %, as in :func:`scperturbrl.get.harm`.
    ``n_conditions``
        Number of conditions in which all that is compared has a value.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If a model was not evaluated, or if `model` has no parent and `reference` is not given.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> rows = [("generator", "A", 0.2), ("generator", "B", 0.4), ("tuned", "A", 0.3), ("tuned", "B", 0.5)]
    >>> rows += [("split_half", "A", 0.6), ("split_half", "B", 0.8)]
    >>> table = pd.DataFrame(rows, columns=["model", "condition", "value"])
    >>> adata.uns["evaluation"] = table.assign(metric="score_pearson_topk", kind="generator", role="rewarded")
    >>> found = spr.get.gap_closed(adata, "tuned", reference="generator")
    >>> found[["kind", "value", "harm_rate", "n_conditions"]].round(2).values.tolist()
    [['gap closed', 0.25, 0.0, 2]]
    """
    adata = pick(adata, modality)
    table = read_evaluation(adata).astype(dict.fromkeys(("model", "condition", "metric"), str))
    models = list(dict.fromkeys(table["model"]))
    chosen("model", model, models)
    other = chosen("reference", _reference(adata, model, models) if reference is None else reference, models)[0]
    check_other(model, other)
    metrics = list(dict.fromkeys(table["metric"]))
    rows = []
    for name in [
        *(one for one in metrics if one.startswith(SCORE_PREFIX)),
        *(one for one in DISTANCES if one in metrics),
    ]:
        wide = table[table["metric"] == name].pivot_table(index="condition", columns="model", values="value")
        needed = [model, other] if name in DISTANCES else [model, other, CEILING]
        values = wide.reindex(columns=needed).dropna().to_numpy(dtype=float)
        options = {"confidence": confidence, "seed": seed}
        label = {"model": model, "reference": other, "metric": name}
        rows.append(label | (_ratio if name in DISTANCES else _share)(values, options))
        if name in DISTANCES:
            rows[-1]["harm_rate"] = float(harm(adata, model, reference=other, metrics=name)["harm_rate"].iloc[0])
    columns = ["model", "reference", "metric", "kind", "value", "low", "high", "harm_rate", "n_conditions"]
    return pd.DataFrame(rows, columns=columns)


def _reference(adata: AnnData, model: str, models: list[str]) -> str:
    """The parent of `model` after extra training, if that was evaluated, else the parent."""
    parent = parent_of(adata, model)
    records = {name: adata.uns.get(name) for name in models if name != model}
    params = {
        n: own["params"] for n, own in records.items() if isinstance(own, dict) and isinstance(own.get("params"), dict)
    }
    longer = [n for n, own in params.items() if own.get("parent") == parent and own.get("method") == "fit_generator"]
    return longer[0] if longer else parent


def _share(values: np.ndarray, options: dict[str, Any]) -> dict[str, Any]:
    """Share of the gap that is closed, of scores ``(C, 3)`` of model, reference and real cells."""
    own, other, real = values.T
    share, low, high = ratio_interval(own - other, real - other, **options)
    # if the reference was already above real cells, the model did no harm
    passed = (own > real + PASSED) & (other <= real + PASSED)
    return {
        "kind": "gap closed",
        "value": share,
        "low": low,
        "high": high,
        "harm_rate": float(passed.mean()) if len(own) else np.nan,
        "n_conditions": len(own),
    }


def _ratio(values: np.ndarray, options: dict[str, Any]) -> dict[str, Any]:
    """Ratio of distances ``(C, 2)`` of model and reference."""
    ratio, low, high = ratio_interval(values[:, 0], values[:, 1], **options)
    return {"kind": "ratio", "value": ratio, "low": low, "high": high, "n_conditions": len(values)}
