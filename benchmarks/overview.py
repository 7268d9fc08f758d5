"""All data sets at a glance: one line each, in ratios and differences that can be compared between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

import scperturbrl as spr
from benchmarks.arms import BASE, LONGER, RL
from benchmarks.report import CLAIMED, COLUMNS
from scperturbrl.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable

HELD_OUT = "held-out"
PARTS = ("rewards_only", "energy_only")
WHOLE = ("unguarded", "best_of_8")
WHOLE_EFFECTS, RIGHT_MEANS = "whole_effects", "right_means"
SINGLES = ("measured_singles", "known_singles")
LINES = ("additive", "additive_ridge", "combination_ridge")
MEANS = {
    "pearson_delta": "Pearson delta",
    "pearson_delta_top": "top DE",
    "de_overlap": "DE overlap",
    "pearson_delta_systema": "Systema Pearson",
}
LIKENESS = {"variance_ratio": "variance ratio", "zero_fraction_error": "zeros", "classifier_auroc": "C2ST"}
UNREWARDED = ("pearson_delta_systema", "discrimination")


def generator_lines(results: pd.DataFrame) -> str:
    """How the fitted generator stands beside the best baseline of each data set and metric."""
    lines = [
        "| data set | E-distance | best baseline | ratio | MSE x 1e3 | best baseline | ratio | Pearson delta | best baseline |",
        "|---" * 9 + "|",
    ]
    for name, rows in results.groupby("suite", sort=False):
        means = _means(rows)
        if BASE not in means.columns.get_level_values("model"):
            continue
        cells = [str(name).replace("_", " ")]
        for metric, scale in (("energy_distance", 1.0), ("mse", 1e3)):
            own, best, label = _beside_best(means[metric], _baselines(rows))
            # an unbiased distance may be below 0, and then a ratio says nothing
            ratio = _range(own / best, 2) if (best > 0).all() else "-"
            cells += [f"{own.median() * scale:.3g}", f"{best.median() * scale:.3g} ({label})", ratio]
        own, best, label = _beside_best(means["pearson_delta"], _baselines(rows), largest=True)
        cells += [f"{own.median():.3f}", f"{best.median():.3f} ({label})"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def paired_lines(results: pd.DataFrame) -> str:
    """The generator minus the straight lines, set by set: medians of the differences, and in how many sets they are at least 0."""
    lines = ["| data set | beside | " + " | ".join(MEANS.values()) + " |"]
    lines.append("|---" * (len(MEANS) + 2) + "|")
    for name, rows in results.groupby("suite", sort=False):
        means = _means(rows)
        measured = set(means.columns.get_level_values("model"))
        for line in LINES:
            if not {BASE, line} <= measured:
                continue
            changes = [(means[metric][BASE] - means[metric][line]).dropna() for metric in MEANS]
            cells = [str(name).replace("_", " "), line.replace("_", " ")]
            cells += [_in_favour(change) if len(change) else "-" for change in changes]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def likeness_lines(results: pd.DataFrame) -> str:
    """How well cells can be told from real ones: generated, oracles, shifted control cells, and real halves."""
    lines = ["| data set | cells | seeds | " + " | ".join(LIKENESS.values()) + " | E-distance |"]
    lines.append("|---" * (len(LIKENESS) + 4) + "|")
    for name, rows in results.groupby("suite", sort=False):
        means = _means(rows)
        measured = set(means.columns.get_level_values("model"))
        if RIGHT_MEANS not in measured:
            continue
        for model in (BASE, RIGHT_MEANS, *SINGLES, "additive", "split_half"):
            if model not in measured:
                continue
            own = {metric: means[metric][model].dropna() for metric in [*LIKENESS, "energy_distance"]}
            cells = [str(name).replace("_", " "), model.replace("_", " "), str(len(own["energy_distance"]))]
            cells += [_range(values, 3) for values in own.values()]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def post_training_lines(results: pd.DataFrame) -> str:
    """What post-training adds to training on for as long: differences of the scores, ratios of the distances, verdicts."""
    lines = [
        "| data set | "
        + " | ".join(COLUMNS[metric] for metric in CLAIMED)
        + " | all four raised | E-distance | MMD | not rewarded: better / tied / worse |",
        "|---" * (len(CLAIMED) + 5) + "|",
    ]
    for name, rows in results.groupby("suite", sort=False):
        means = _means(rows)
        if not {RL, LONGER} <= set(means.columns.get_level_values("model")):
            continue
        change = pd.DataFrame({metric: means[metric][RL] - means[metric][LONGER] for metric in CLAIMED})
        cells = [str(name).replace("_", " ")]
        cells += [f"{own.median():+.4f} ({(own > 0).sum()}/{len(own)})" for _, own in change.items()]
        cells.append(f"{int((change > 0).all(axis=1).sum())} of {len(change)}")
        cells += [_range(means[metric][RL] / means[metric][LONGER], 3) for metric in ("energy_distance", "mmd")]
        cells.append(_verdicts(rows))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def arm_lines(results: pd.DataFrame) -> str:
    """What each part of post-training does, beside training on for as long; data sets on which the parts were measured."""
    heads = ["data set", "arm", *(COLUMNS[metric] for metric in CLAIMED), "all four raised", "E-distance"]
    heads += ["variance ratio", "Systema Pearson", "discrimination", "CPU s"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, rows in results.groupby("suite", sort=False):
        means = _means(rows)
        measured = set(means.columns.get_level_values("model"))
        if not {LONGER, *PARTS} <= measured:
            continue
        seconds = rows.drop_duplicates(["model", "seed"]).groupby("model")["cpu_seconds"].median()
        for arm in (BASE, RL, *(arm for arm in [*PARTS, *WHOLE] if arm in measured)):
            change = {metric: means[metric][arm] - means[metric][LONGER] for metric in [*CLAIMED, *UNREWARDED]}
            raised = pd.DataFrame(change)[CLAIMED].gt(0).all(axis=1)[change[CLAIMED[0]].notna()]
            cells = [str(name), f"`{arm}`", *(f"{change[metric].median():+.4f}" for metric in CLAIMED)]
            cells += [f"{int(raised.sum())} of {len(raised)}"]
            cells += [_range(means["energy_distance"][arm] / means["energy_distance"][LONGER], 2)]
            cells += [f"{means['variance_ratio'][arm].median():.2f}"]
            cells += [*(f"{change[metric].median():+.4f}" for metric in UNREWARDED), f"{seconds[arm]:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def magnitude_lines(results: pd.DataFrame) -> str:
    """The generator beside itself with effects of unseen combinations as large as predicted: ratios, below 1 it is closer."""
    lines = ["| data set | seeds | E-distance | closer | MSE | Pearson delta |", "|---" * 6 + "|"]
    for name, rows in results.groupby("suite", sort=False):
        means = _means(rows)
        if WHOLE_EFFECTS not in means.columns.get_level_values("model"):
            continue
        distance, error = (
            (means[metric][BASE] / means[metric][WHOLE_EFFECTS]).dropna() for metric in ("energy_distance", "mse")
        )
        change = means["pearson_delta"][BASE] - means["pearson_delta"][WHOLE_EFFECTS]
        cells = [str(name).replace("_", " "), str(len(distance)), _range(distance, 2), str(int((distance < 1).sum()))]
        cells += [_range(error, 2), f"{change.median():+.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over conditions: a row a seed, columns by metric and model."""
    return rows.groupby(["seed", "metric", "model"])["value"].mean().unstack(["metric", "model"])


def _baselines(rows: pd.DataFrame) -> list[str]:
    return [str(name) for name in rows.loc[rows["kind"] == "baseline", "model"].unique()]


def _beside_best(
    means: pd.DataFrame, baselines: Iterable[str], *, largest: bool = False
) -> tuple[pd.Series, pd.Series, str]:
    medians = means[[name for name in baselines if name in means]].median().dropna()
    best = str(medians.idxmax() if largest else medians.idxmin())
    return means[BASE], means[best], best.replace("_", " ")


def _in_favour(change: pd.Series) -> str:
    return f"{change.median():+.4f} ({(change >= 0).sum()}/{len(change)})"


def _range(values: pd.Series, digits: int) -> str:
    return f"{values.median():.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def _verdicts(rows: pd.DataFrame) -> str:
    metrics = [name for name in METRICS if name in set(rows.loc[rows["role"] == HELD_OUT, "metric"])]
    verdict = spr.get.differences(rows, RL, reference=LONGER, metrics=metrics)["verdict"].value_counts()
    return " / ".join(str(verdict.get(word, 0)) for word in ("better", "tie", "worse"))
