"""Values relative to the mean response and a replicate experiment, and which metrics can discriminate these two."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scperturbrl.metrics.ceiling import scaled_score
from scperturbrl.metrics.registry import METRICS

# models used for calibration: a replicate experiment, and a prediction that is the same for all conditions
CEILING, MEAN_RESPONSE = "split_half", "perturbed_mean"
# Chance is one half. Below three of four conditions, a metric is not informative about models either.
SHARE = 0.75
# The mean response is the Systema reference itself, so these metrics are undefined for it.
ZERO_FOR_THE_MEAN = frozenset({"pearson_delta_systema", "spearman_delta_systema"})
COLUMNS = ("calibrated", "told_apart", "dynamic_range")


def calibrate_metrics(replicate: pd.DataFrame, mean_response: pd.DataFrame) -> pd.DataFrame:
    """Compare one half of the real cells with the mean response, both as predictions of the other half.

    Parameters
    ----------
    replicate, mean_response
        Columns ``condition``, ``metric`` and ``value``: the two predictions, evaluated on the same cells.

    Returns
    -------
    One row per metric, indexed by its name:

    - ``calibrated``: whether the replicate is better in at least three of four conditions,
    - ``told_apart``: the share of conditions in which the replicate is better, among those in which both have a value
      (the bound discrimination score of scPertEval); NaN if there are none,
    - ``dynamic_range``: median over conditions of the position of the replicate between the mean response (0) and a
      perfect prediction (1) (the dynamic range fraction of Miller et al. 2025), in [-1, 1]; NaN for scores of verifiers, which
      have no perfect value.
    """
    both = replicate.merge(mean_response, on=["condition", "metric"], suffixes=("", "_mean"))
    rows = {name: _row(str(name), part) for name, part in both.groupby("metric", sort=False, observed=True)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS)).astype({"calibrated": bool})


def with_calibration(table: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of :func:`calibrate_metrics` to a table with a column ``metric``.

    Parameters
    ----------
    table
        One row for each model, condition and metric.
    found
        Result of :func:`calibrate_metrics`. Metrics that are missing in it are not calibrated.

    Returns
    -------
    The table with three more columns.
    """
    values = found.reindex(table["metric"].to_numpy()).reset_index(drop=True)
    values["calibrated"] = values["calibrated"].eq(True)  # noqa: FBT003 - absent counts as false
    return table.assign(**{name: values[name].to_numpy() for name in COLUMNS})


def with_scaled(table: pd.DataFrame) -> pd.DataFrame:
    """Add the scaled score of every value, relative to the baseline and the ceiling of its condition."""
    wide = table.pivot_table(index=["condition", "metric"], columns="model", values="value", dropna=False)
    anchors = wide.loc[pd.MultiIndex.from_frame(table[["condition", "metric"]]), [MEAN_RESPONSE, CEILING]].to_numpy()
    scaled = []
    for metric, value, (baseline, ceiling) in zip(table["metric"], table["value"], anchors, strict=True):
        baseline = 0.0 if metric in ZERO_FOR_THE_MEAN else baseline
        error = METRICS[metric].error if metric in METRICS else lambda score: -score
        scaled.append(scaled_score(error(value), baseline=error(baseline), ceiling=error(ceiling)))
    return table.assign(scaled=np.asarray(scaled, dtype=float))


def _row(metric: str, part: pd.DataFrame) -> tuple[bool, float, float]:
    replicate, mean = part["value"].to_numpy(dtype=float), part["value_mean"].to_numpy(dtype=float)
    if metric in ZERO_FOR_THE_MEAN:
        mean = np.zeros_like(mean)
    known = ~(np.isnan(replicate) | np.isnan(mean))
    if not known.any():
        return False, np.nan, np.nan
    error = METRICS[metric].error if metric in METRICS else lambda score: -score
    near, far = (np.array([error(value) for value in side[known]]) for side in (replicate, mean))
    share = float((near < far).mean())
    # if the mean response has no error, the range is undefined
    ranges = np.clip((far - near)[far > 0] / far[far > 0], -1.0, 1.0)
    has_range = metric in METRICS and len(ranges)
    return share >= SHARE, share, float(np.median(ranges)) if has_range else np.nan
