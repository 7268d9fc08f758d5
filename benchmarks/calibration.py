"""Which metrics can tell a replicate from the mean response on a data set, over all its folds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.kept import add, read, table_file
from scperturbrl.data.evaluation.metric_calibration import SHARE
from scperturbrl.get._read.labels import metric_label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "calibration"


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Calibration of every metric, pooled over folds, each with the weight of its number of conditions.

    Parameters
    ----------
    results
        Measurements with the columns of :func:`scperturbrl.tl.evaluate`, and ``suite`` and ``seed``.

    Returns
    -------
    One row per data set and metric: ``suite``, ``metric``, ``told_apart`` (share of the conditions in which a replicate
    is better than the mean response), ``dynamic_range`` (median over folds), ``calibrated`` (told apart in at least
    three of four conditions), ``n_conditions``, ``n_folds``.
    """
    sizes = results.groupby(["suite", "seed"])["condition"].nunique().rename("n")
    folds = results.drop_duplicates(["suite", "seed", "metric"]).join(sizes, on=["suite", "seed"])
    rows = []
    for (suite, metric), part in folds.groupby(["suite", "metric"], sort=False):
        known, ranges = part[part["told_apart"].notna()], part["dynamic_range"].dropna()
        share = float(np.average(known["told_apart"], weights=known["n"])) if len(known) else np.nan
        rows.append(
            {
                "suite": suite,
                "metric": metric,
                "told_apart": share,
                "dynamic_range": ranges.median() if len(ranges) else np.nan,
                "calibrated": share >= SHARE,
                "n_conditions": int(part["n"].sum()),
                "n_folds": len(part),
            }
        )
    return pd.DataFrame(rows)


def pooled(results: pd.DataFrame) -> pd.DataFrame:
    """The measurements with the calibration over all folds instead of that of each fold."""
    columns = ["told_apart", "dynamic_range", "calibrated"]
    found = table(results).set_index(["suite", "metric"])[columns]
    return results.drop(columns=columns).join(found, on=["suite", "metric"])


def write(results: pd.DataFrame, out: Path) -> str:
    """Add the calibration of these data sets to the table in `out`; return it as Markdown."""
    found = table(results)
    add(found, table_file(out, NAME), keys=["suite"])
    return "\n".join(lines(found, name) for name in found["suite"].unique())


def of(out: Path, suites: Sequence[str]) -> pd.DataFrame:
    """Kept calibration of those of the data sets for which there is any."""
    found = read(table_file(out, NAME))
    return found[found["suite"].isin(list(suites))] if len(found) else found


def lines(found: pd.DataFrame, suite: str) -> str:
    """Two sentences: the calibrated metrics of a data set with their shares, and the others; empty if it has none."""
    rows = found[found["suite"] == suite] if len(found) else found
    if rows.empty:
        return ""
    named = lambda part: "; ".join(f"{metric_label(row.metric)} {_share(row.told_apart)}" for row in part.itertuples())
    fit, unfit = rows[rows["calibrated"]], rows[~rows["calibrated"]]
    n = int(rows["n_conditions"].max())
    return (
        f"**Calibration, {suite}** ({n} held-out {'condition' if n == 1 else 'conditions'}). {len(fit)} of {len(rows)} metrics tell a replicate from the mean "
        f"response; behind each is the share of the conditions: {named(fit) or 'none'}. Left out of verdicts: "
        f"{named(unfit) or 'none'}.\n"
    )


def _share(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"
