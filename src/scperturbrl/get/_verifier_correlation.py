"""Agreement of verifiers and other metrics on which prediction is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._evaluation import metric_order, model_order
from scperturbrl.get._read.labels import SCORE_PREFIX
from scperturbrl.get._read.slots import chosen, read_evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

_COMPARED = ("generator", "prediction")
_CEILING = "ceiling"

MIN_PAIRS = 8
"""With fewer pairs of model and condition, no correlation is given, because rankings may agree by chance."""


@documented
def verifier_correlation(
    adata: AnnData | MuData,
    *,
    verifiers: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    models: str | Sequence[str] | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Correlate verifier scores with the other metrics over models and conditions.

    The sign of every metric is chosen so that higher is better. Values are relative to the mean of the models in the
    condition, so that easy and hard conditions do not create a correlation. If held-out metrics do not rise with a
    :term:`verifier`, a generator can exploit it without generating better cells. Rewarding such a verifier invites
    reward hacking.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    verifiers
        Names of verifiers; all that were evaluated by default.
    metrics
        Names of metrics, in this order; all but the verifier scores by default.
    models
        Names of models to compare; by default generators and other predictions, or all but the replicate ceiling if
        those are fewer than two. By default, baselines are left out, because they differ so much that any score
        separates them.
    {modality}

    Returns
    -------
    One row per verifier and metric: ``verifier``, ``metric``, ``role`` (as in ``uns["evaluation"]``), ``correlation``
    (Spearman, 1: they always agree; NaN below 8 pairs, and if one of them is constant) and ``n``, the number
    of pairs of model and condition.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If a verifier, a metric or a model does not occur, or fewer than two models are left.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> rows = [
    ...     {"model": m, "kind": "generator", "condition": c, "metric": metric, "value": v, "role": role}
    ...     for metric, role, values in (("score_rmse_topk", "rewarded", (1, 2, 3)), ("mse", "held-out", (5, 4, 6)))
    ...     for m, v in zip("xyz", values)
    ...     for c in "ABC"
    ... ]
    >>> adata.uns["evaluation"] = pd.DataFrame(rows)
    >>> spr.get.verifier_correlation(adata)[["verifier", "metric", "correlation"]]
        verifier metric  correlation
    0  rmse_topk    mse         -0.5
    """
    wide, roles = relative_values(pick(adata, modality), models)
    own = [name for name in wide if name.startswith(SCORE_PREFIX)]
    scores = chosen("verifiers", verifiers, [name.removeprefix(SCORE_PREFIX) for name in own])
    others = chosen("metrics", metrics, [name for name in wide if name not in own])
    rows = []
    for verifier in scores:
        for metric in others:
            both = wide[[keys.score(verifier), metric]].dropna()
            rows.append(
                {
                    "verifier": verifier,
                    "metric": metric,
                    "role": roles[metric],
                    "correlation": spearman(both),
                    "n": len(both),
                }
            )
    return pd.DataFrame(rows, columns=["verifier", "metric", "role", "correlation", "n"])


def relative_values(adata: AnnData, models: str | Sequence[str] | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """Goodness of every model and condition (rows) for every metric, relative to the condition; roles of metrics."""
    frame, _ = compared(adata, models)
    frame = frame.assign(value=goodness(frame))
    wide = frame.pivot_table(index=["condition", "model"], columns="metric", values="value", dropna=False)
    wide = wide[[name for name in metric_order(frame) if name in wide]]
    relative = wide - wide.groupby(level="condition").transform("mean")
    return relative, dict(zip(frame["metric"], frame["role"], strict=True))


def compared(adata: AnnData, models: str | Sequence[str] | None) -> tuple[pd.DataFrame, list[str]]:
    """Rows of ``uns["evaluation"]`` of the models to compare, and these in order."""
    frame = read_evaluation(adata).astype({"model": str, "kind": str, "metric": str, "role": str})
    names = _default_models(frame) if models is None else chosen("models", models, model_order(frame))
    if len(names) < 2:
        msg = f"Only {names} to compare; at least two models are needed. Evaluate more, or name more `models`."
        raise ValueError(msg)
    return frame[frame["model"].isin(names)], names


def goodness(frame: pd.DataFrame) -> list[float]:
    """Value of every row, with the sign chosen so that higher is better."""
    from scperturbrl.metrics.registry import METRICS

    pairs = zip(frame["metric"], frame["value"], strict=True)
    return [-METRICS[metric].error(value) if metric in METRICS else value for metric, value in pairs]


def _default_models(frame: pd.DataFrame) -> list[str]:
    compared = model_order(frame[frame["kind"].isin(_COMPARED)])
    return compared if len(compared) > 1 else model_order(frame[frame["kind"] != _CEILING])


def spearman(both: pd.DataFrame) -> float:
    """Rank correlation of two columns; NaN below :data:`MIN_PAIRS` rows, and if one of them is constant."""
    from scipy.stats import spearmanr

    # rounding errors must not affect ranks
    values = both.to_numpy(dtype=float)
    values = np.where(np.abs(values) < 1e-12, 0.0, values)
    if len(values) < MIN_PAIRS or (np.ptp(values, axis=0) == 0).any():
        return float("nan")
    return float(spearmanr(values[:, 0], values[:, 1]).statistic)
