"""Results fold by fold: held-out conditions, models and every baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.kept import keep, table_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

METRICS = {"energy_distance": ("E-distance", 1.0), "mse": ("MSE x 1e3", 1e3)}


def table(results: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Mean over held-out conditions of each fold, model and metric, with the best baseline.

    Returns
    -------
    One row per data set, fold, model (requested models and every baseline) and metric: ``suite``, ``seed``,
    ``held_out``, ``model``, ``kind``, ``metric``, ``value``, ``best_baseline`` (its name), ``ratio`` of the value to
    that of the best baseline.
    """
    wanted = results["model"].isin(list(models)) | (results["kind"] == "baseline")
    rows = results[wanted & results["metric"].isin(list(METRICS))]
    means = rows.groupby(["suite", "seed", "model", "kind", "metric"], sort=False)["value"].mean().reset_index()
    named = results.groupby(["suite", "seed"]).apply(_held_out, include_groups=False).rename("held_out")
    baselines = means[means["kind"] == "baseline"]
    # in case of ties, the first one is named
    best = baselines.loc[baselines.groupby(["suite", "seed", "metric"], sort=False)["value"].idxmin()]
    best = best.set_index(["suite", "seed", "metric"])[["model", "value"]]
    best.columns = ["best_baseline", "best"]
    means = means.join(named, on=["suite", "seed"]).join(best, on=["suite", "seed", "metric"])
    means["ratio"] = means["value"] / means["best"]
    columns = ["suite", "seed", "held_out", "model", "kind", "metric", "value", "best_baseline", "ratio"]
    return means[columns].sort_values(["suite", "seed", "metric"], kind="stable").reset_index(drop=True)


def _held_out(rows: pd.DataFrame) -> str:
    """Held-out contexts, or conditions if there are no contexts."""
    contexts = rows["covariates"].fillna("").unique()
    names = rows["condition"].dropna().unique() if set(contexts) <= {"all", ""} else contexts
    return ", ".join(sorted(map(str, names)))


def write(results: pd.DataFrame, models: Sequence[str], out: Path, name: str) -> str:
    """Save the table as ``folds_<name>.csv.gz`` and return it as Markdown."""
    folds = table(results, models)
    keep(folds, table_file(out, f"folds_{name}"))
    return markdown(folds, models)


def markdown(folds: pd.DataFrame, models: Sequence[str]) -> str:
    """One row a fold and model, then the figures of every baseline."""
    parts = []
    for model in models:
        parts += [f"\n`{model}` beside the best baseline of the fold:\n", _summary(folds[folds["model"] == model])]
    return "\n".join([*parts, "\nEvery model and baseline:\n", _everything(folds)])


def _summary(rows: pd.DataFrame) -> str:
    heads = [word for label, _ in METRICS.values() for word in (label, "best baseline", "ratio")]
    lines = ["| held out | " + " | ".join(heads) + " |", "|---" * 7 + "|"]
    for (suite, seed), fold in rows.groupby(["suite", "seed"], sort=False):
        own, cells = fold.set_index("metric"), []
        for metric, (_, scale) in METRICS.items():
            value, best, ratio = own.loc[metric, ["value", "best_baseline", "ratio"]]
            cells += [f"{scale * value:.3g}", f"{scale * value / ratio:.3g} ({best})", f"{ratio:.2f}"]
        lines.append(f"| {suite} {seed}: {own['held_out'].iloc[0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _everything(folds: pd.DataFrame) -> str:
    lines = ["| held out | model | E-distance | ratio | MSE x 1e3 | ratio |", "|---" * 6 + "|"]
    for (suite, seed, model), rows in folds.groupby(["suite", "seed", "model"], sort=False):
        own = rows.set_index("metric")
        cells = [
            f"{scale * own.loc[metric, 'value']:.3g} | {own.loc[metric, 'ratio']:.2f}"
            for metric, (_, scale) in METRICS.items()
        ]
        lines.append(f"| {suite} {seed}: {own['held_out'].iloc[0]} | {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
