"""Scores of a verifier and values of a metric, condition by condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._read.labels import SCORE_PREFIX
from scperturbrl.get._read.slots import chosen
from scperturbrl.get._verifier_correlation import compared, goodness

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


@documented
def verifier_agreement(
    adata: AnnData | MuData,
    *,
    verifier: str,
    metric: str,
    models: str | Sequence[str] | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the mean score of a verifier and a metric for every model and condition.

    Within a condition, a model with a higher score should also have a better metric. A model with a higher score and a
    worse metric exploits the verifier without generating better cells.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    verifier
        Name of a verifier that was evaluated.
    metric
        Name of a metric, such as ``"energy_distance"``.
    models
        Names of models, in this order; by default those of :func:`scperturbrl.get.verifier_correlation`. ``"split_half"``
        adds the real cells.
    {modality}

    Returns
    -------
    One row per condition and model that has both:

    ``condition``, ``model``, ``kind``
        As in ``uns["evaluation"]``.
    ``score``
        Mean raw score of the verifier.
    ``value``
        Raw value of the metric.
    ``relative_score``, ``relative_goodness``
        Score, and metric with its sign chosen so that higher is better, minus their means over the models of the
        condition. Their Spearman correlation is that of :func:`scperturbrl.get.verifier_correlation`.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If the verifier, the metric or a model does not occur, or fewer than two models are left.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> rows = [
    ...     {"model": m, "kind": "generator", "condition": "A", "metric": metric, "value": v, "role": role}
    ...     for metric, role, values in (("score_rmse_topk", "rewarded", (1, 2, 3)), ("mse", "held-out", (5, 4, 6)))
    ...     for m, v in zip("xyz", values)
    ... ]
    >>> adata.uns["evaluation"] = pd.DataFrame(rows)
    >>> frame = spr.get.verifier_agreement(adata, verifier="rmse_topk", metric="mse")
    >>> frame[["model", "score", "value", "relative_score", "relative_goodness"]]
      model  score  value  relative_score  relative_goodness
    0     x    1.0    5.0            -1.0                0.0
    1     y    2.0    4.0             0.0                1.0
    2     z    3.0    6.0             1.0               -1.0
    """
    frame, names = compared(pick(adata, modality), models)
    found = list(dict.fromkeys(frame["metric"]))
    scores = [name.removeprefix(SCORE_PREFIX) for name in found if name.startswith(SCORE_PREFIX)]
    pair = [keys.score(*chosen("verifier", verifier, scores)), *chosen("metric", metric, found)]
    frame = frame[frame["metric"].isin(pair)]
    frame = frame.assign(goodness=goodness(frame))
    index = ["condition", "model", "kind"]
    wide = frame.pivot_table(index=index, columns="metric", values=["value", "goodness"]).dropna().reset_index()
    kept = wide[index].droplevel(1, axis=1)
    kept["score"], kept["value"] = (wide["value", name] for name in pair)
    for name, column in zip(pair, ("relative_score", "relative_goodness"), strict=True):
        better = wide["goodness", name]
        kept[column] = better - better.groupby(kept["condition"]).transform("mean")
    # conditions in the order of the evaluation, models in the order of the comparison
    order = {name: i for i, name in enumerate(dict.fromkeys(frame["condition"]))}
    places = kept.assign(condition=kept["condition"].map(order), model=kept["model"].map(names.index))
    return kept.loc[places.sort_values(["condition", "model"]).index].reset_index(drop=True)
