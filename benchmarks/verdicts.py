"""One verdict for each data set: a model beside the best simple rule, in the metrics that can judge there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

import scperturbrl as spr
from benchmarks import calibration
from benchmarks.arms import BASE, RL
from benchmarks.kept import keep, table_file
from benchmarks.suites import DATASETS
from scperturbrl.data.evaluation.roles import HELD_OUT
from scperturbrl.get._read.labels import metric_label
from scperturbrl.pl._page.words import OF_CELLS

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "verdicts_"


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Compare the generators with the best simple rule of each data set, over the conditions of all folds.

    Only metrics of effects are compared: baselines are shifted control cells, so metrics of single cells do not
    compare them fairly. A metric judges if it is calibrated over all folds and neither rewarded nor related to a reward.

    Parameters
    ----------
    results
        Measurements of :func:`benchmarks.grid.collect`.

    Returns
    -------
    One row per data set, model and metric: ``suite``, ``model``, ``reference`` (the rule with the best median scaled
    score, chosen with the held-out cells), ``metric``, ``judges``, ``difference``, ``low``, ``high``, ``verdict``,
    ``n_conditions``, ``n_folds``.
    """
    parts = []
    for suite, rows in results.groupby("suite", sort=False):
        measured = calibration.pooled(rows[rows["kind"] != "skipped"])
        # every fold has conditions of its own, even where names repeat
        measured = measured[~measured["metric"].isin(OF_CELLS)].assign(dataset=measured["seed"])
        judging = measured["calibrated"] & (measured["role"] == HELD_OUT)
        best = _best_rule(measured[judging])
        if not best:
            continue
        judges = set(measured.loc[judging, "metric"])
        for model in (BASE, RL):
            own = measured[measured["seed"].isin(measured.loc[measured["model"] == model, "seed"])]
            if len(own):
                found = spr.get.differences(own, model, reference=best)
                found = found.assign(suite=suite, judges=found["metric"].isin(judges), n_folds=own["seed"].nunique())
                parts.append(found.drop(columns=["role", "p_value"]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _best_rule(rows: pd.DataFrame) -> str:
    rules = rows[rows["kind"] == "baseline"]
    scaled = rules.groupby(["model", "metric"])["scaled"].median().groupby("model").median().dropna()
    return str(scaled.idxmax()) if len(scaled) else ""


def write(results: pd.DataFrame, out: Path, name: str) -> str:
    """Save the table as ``verdicts_<name>.csv.gz`` and return it as Markdown."""
    found = table(results)
    if found.empty:
        return ""
    keep(found, table_file(out, f"{PREFIX}{name}"))
    return markdown(found)


def markdown(found: pd.DataFrame) -> str:
    """One row per data set and model: how many metrics judge, and in how many of them the model is better or worse."""
    head = ["Task", "Model", "Folds", "Conditions", "Best simple rule", "Verdict", "Better in", "Worse in", "Tied in"]
    text = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for (suite, model), rows in found.groupby(["suite", "model"], sort=False):
        judged, first = rows[rows["judges"]], rows.iloc[0]
        n = int(judged["n_conditions"].max())
        named = {word: [metric_label(one) for one in judged.loc[judged["verdict"] == word, "metric"]] for word in WORDS}
        words = f"{suite}, {DATASETS[suite].describes}" if suite in DATASETS else suite
        cells = [
            *(words, model, str(first["n_folds"]), str(n), str(first["reference"]).replace("_", " ")),
            _word(named, n),
            *(f"{len(names)}{': ' if names else ''}{'; '.join(names)}" for names in (named["better"], named["worse"])),
            str(len(named["tie"])),
        ]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


WORDS = ("better", "worse", "tie")


def _word(named: dict[str, list[str]], n: int) -> str:
    better, worse = len(named["better"]), len(named["worse"])
    if n < 2:
        return "too few conditions"
    return "better" if better > worse else "worse" if worse > better else "no clear difference"
