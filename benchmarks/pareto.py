"""Reward gain against distance for all update rules and anchors, and the time that the default needs.

Two kinds of points: a rule alone (no energy steps, no guard, the anchor fixed at its value), and a rule within the default recipe
(energy steps between, the guard on, the anchor adapted). All are post-trained from one generator for a seed and compared with
that generator trained on for as many CPU seconds as the default took.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

import scperturbrl as spr
from benchmarks.arms import ARMS, BASE, LONGER, RL, Arm, finetuned, fitted
from benchmarks.kept import add, has, read, table_file
from benchmarks.report import CLAIMED
from benchmarks.suites import DATASETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from benchmarks.suites import Prepared

FOLDER = "pareto"
ALONE, RECIPE = "alone", "recipe"
ANCHORS = (0.1, 0.3, 1.0, 3.0)
DEFAULT_RULE, DEFAULT_ANCHOR, ITERATIONS = "hybrid", 0.1, 15
RIVAL = "grpo"
DEFAULT_BUDGETS, RIVAL_BUDGETS = (4, 8, 30), (30, 60)
METRICS = [*CLAIMED, "energy_distance", "mse", "variance_ratio", "pearson_delta_systema", "discrimination"]
N_CELLS = 500


@dataclass(frozen=True)
class Point:
    """A way to post-train.

    Attributes
    ----------
    rule, anchor
        Update rule and the first weight of its anchor.
    kind
        The rule alone, or within the default recipe.
    n_iterations
        Rounds.
    """

    rule: str
    anchor: float
    kind: str = ALONE
    n_iterations: int = ITERATIONS

    @property
    def name(self) -> str:
        """Name of its rows and of its generator; the default has the same name as in the grid."""
        after = "" if self.n_iterations == ITERATIONS else f"_after_{self.n_iterations}"
        if self == DEFAULT:
            return RL
        return f"{self.rule}_{self.kind}_anchor_{self.anchor:g}{after}"

    @property
    def arm(self) -> Arm:
        """How it is made."""
        if self == DEFAULT:
            return ARMS[RL]
        options: dict[str, Any] = {} if self.kind == RECIPE else {"energy_steps": 0, "guard": False}
        return finetuned(
            self.name, update_rule=self.rule, anchor=self.anchor, n_iterations=self.n_iterations, **options
        )


DEFAULT = Point(DEFAULT_RULE, DEFAULT_ANCHOR, RECIPE)
RULES = ("grpo", "nft", "value_gradient", "hybrid")
# points needed for the comparison of time come first, because they are useful even if the rest is not measured yet
BATCHES = [
    [Point(RIVAL, anchor) for anchor in ANCHORS],
    [Point(DEFAULT_RULE, DEFAULT_ANCHOR, RECIPE, n) for n in DEFAULT_BUDGETS],
    *([Point(rule, anchor) for anchor in ANCHORS] for rule in RULES if rule != RIVAL),
    [Point(DEFAULT_RULE, anchor, RECIPE) for anchor in ANCHORS if anchor != DEFAULT_ANCHOR],
    [Point(rule, DEFAULT_ANCHOR, RECIPE) for rule in RULES if rule != DEFAULT_RULE],
]


def run(seeds: Sequence[int], *, data: Path, out: Path) -> None:
    """Measure every point that is not in the table yet; an interrupted run, and its generators, can be resumed."""
    for seed in seeds:
        bench = Bench(seed, data, out)
        bench.measure({BASE: None, RL: DEFAULT, LONGER: None})
        first, *others = BATCHES
        bench.measure({point.name: point for point in first})
        best = best_of(RIVAL, summary(collect(out, [seed])), kind=ALONE)
        longer = [Point(RIVAL, float(best["anchor"]), ALONE, n) for n in RIVAL_BUDGETS]
        for points in (longer, *others):
            bench.measure({point.name: point for point in points})


@dataclass
class Bench:
    """The data of a seed, loaded when first needed, and the time of its generators."""

    seed: int
    data: Path
    out: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def prepared(self) -> Prepared:
        """Data set of the seed."""
        return DATASETS["simulated"].load(self.seed, self.data)

    def measure(self, points: Mapping[str, Point | None]) -> None:
        """Fit missing points, and evaluate them together, because baselines and ceilings cost more than a generator."""
        file = table_file(self.out, FOLDER)
        found = read(file)
        missing = [name for name in points if not has(found, seed=self.seed, model=name)]
        if not missing:
            return
        folder = self.out / FOLDER / str(self.seed) / "generators"
        notes: dict[str, dict[str, Any]] = {}
        for name in missing:
            point = points[name]
            fitted(ARMS[name] if point is None else point.arm, self.prepared, self.seed, folder, self.seconds)
            notes[name] = _notes(self.prepared.adata.uns[name]["fitted"]) | ({} if point is None else vars(point))
            notes[name]["cpu_seconds"] = float((folder / f"{name}.seconds").read_text())
            print(f"{FOLDER}, seed {self.seed}, {name}: {notes[name]['cpu_seconds']:.0f} CPU s", flush=True)
        table = spr.tl.evaluate(self.prepared.adata, keys=missing, n_cells=N_CELLS, seed=self.seed)
        table = table.loc[table["metric"].isin(METRICS), ["model", "condition", "metric", "value"]]
        for name in missing:
            own = table[table["model"] == name].assign(seed=self.seed, **notes[name])
            add(own, file, keys=["seed", "model"])


def _notes(fitted: Mapping[str, Any]) -> dict[str, Any]:
    # the message of the guard is as long as a line
    return {"stopped": str(fitted["stopped"]).split(":")[0], "kept_iteration": fitted.get("kept_iteration", np.nan)}


def collect(out: Path, seeds: Sequence[int] | None = None) -> pd.DataFrame:
    """All points measured so far, of these seeds or of all."""
    table = read(table_file(out, FOLDER))
    if len(table) and seeds is not None:
        table = table[table["seed"].isin(seeds)].reset_index(drop=True)
    if table.empty:
        msg = f"Nothing has been measured in {str(table_file(out, FOLDER))!r}: run `python -m benchmarks pareto` first."
        raise FileNotFoundError(msg)
    return table


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """One row per seed and point.

    The gain of each score over the generator trained on and their mean (``gain``), the energy distance and the squared error relative to
    its (``distance``, ``error``), and the other metrics as they are.
    """
    about = ["seed", "model", "rule", "anchor", "kind", "n_iterations", "cpu_seconds", "stopped", "kept_iteration"]
    rows = results.drop_duplicates(["seed", "model"])[about].set_index(["seed", "model"])
    means = results.groupby(["seed", "model", "metric"])["value"].mean().unstack("metric")
    longer = means.xs(LONGER, level="model").reindex(means.index.get_level_values("seed")).set_axis(means.index)
    for metric in CLAIMED:
        rows[metric] = means[metric] - longer[metric]
    rows["gain"] = rows[CLAIMED].mean(axis=1)
    rows["distance"] = means["energy_distance"] / longer["energy_distance"]
    rows["error"] = means["mse"] / longer["mse"]
    for metric in ("variance_ratio", "pearson_delta_systema", "discrimination"):
        rows[metric] = means[metric]
    return rows.reset_index()


def best_of(rule: str, rows: pd.DataFrame, *, kind: str | None = None) -> pd.Series:
    """Point of `rule`, and of this kind if one is named, with the largest gain, of one seed."""
    own = rows[rows["rule"] == rule]
    if kind is not None:
        own = own[(own["kind"] == kind) & (own["n_iterations"] == ITERATIONS)]
    return own.loc[own["gain"].idxmax()]


def front(distance: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The Pareto front: points for which no other point is at least as good in gain and distance, and better in one.

    Parameters
    ----------
    distance, gain
        ``(n,)``; small distances and large gains are better.
    """
    order = np.lexsort((-gain, distance))
    on = np.zeros(len(gain), dtype=bool)
    highest, where = -np.inf, np.nan
    for i in order:
        # a copy of a point on the front is also on it
        on[i] = gain[i] > highest or (gain[i] == highest and distance[i] == where)
        if gain[i] > highest:
            highest, where = gain[i], distance[i]
    return on


def reached(rows: pd.DataFrame, target: pd.Series) -> float:
    """CPU seconds of the shortest of these runs with the gain of `target` at no more distance; NaN if there is none."""
    there = rows[(rows["gain"] >= target["gain"]) & (rows["distance"] <= target["distance"])]
    return float(there["cpu_seconds"].min())
