"""Equal CPU minutes for the generator, CellFlow and scGen on unseen combinations, or on another suite such as cell types held out.

Time is that of the process, all threads together, from the data to the trained model, compilation and components included; imports,
generation and evaluation are left out. Models that train at a constant rate are looked at on their way, once a budget is used up;
the generator, whose rate falls with the time that it has, is fitted once for every budget. ``cellflow_defaults`` has the optimiser
of the package, ``cellflow`` one that gets further in so short a time.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import scperturbrl as spr
from benchmarks import grid, simulated
from benchmarks.adapters import ADAPTERS
from benchmarks.adapters.base import NotApplicable
from benchmarks.arms import BASE
from benchmarks.clock import Budgets, stopwatch
from benchmarks.kept import add, has, read, table_file
from benchmarks.report import LABELS
from benchmarks.speed.cellflow import one_thread_of_jax
from benchmarks.suites import DATASETS
from scperturbrl.data.cells.setup import Setup
from scperturbrl.flow.training import fit as flow_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from benchmarks.adapters.base import Adapter

NAME = "equal_time"
MODELS = (BASE, "cellflow", "cellflow_defaults", "scgen")
METRICS = ("pearson_delta", "energy_distance", "mse")
BESIDE = ("additive", "additive_ridge", "context_line", "split_half")
COMBINATIONS = "simulated"
# with fewer control cells in a group, as many as these
N_CELLS = 2000
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "cellflow": ("cellflow", {"n_ode_steps": 10, "learning_rate": 1e-3}),
    "cellflow_defaults": ("cellflow", {"n_ode_steps": 10}),
    "scgen": ("scgen", {"sum_parts": True}),
}
_COLOURS = {BASE: "#0072B2", "cellflow": "#CC79A7", "cellflow_defaults": "#56B4E9", "scgen": "#E69F00"}


def name_of(suite: str) -> str:
    """Name of the table of a suite."""
    return NAME if suite == COMBINATIONS else f"{NAME}_{suite}"


def run(
    minutes: Sequence[float],
    models: Sequence[str],
    seeds: Sequence[int],
    *,
    out: Path,
    data: Path = Path(),
    suite: str = COMBINATIONS,
) -> None:
    """Measure every cell of `suite` that is not in its table yet, where the package of its model is installed."""
    warnings.filterwarnings("ignore", category=UserWarning)
    one_thread_of_jax()
    for seed in seeds:
        for model in models:
            found = read(table_file(out, name_of(suite)))
            missing = [one for one in minutes if not has(found, seed=seed, fitted=model, minutes=one)]
            if not missing:
                print(f"seed {seed}, {model}: kept")
                continue
            try:
                prepared = simulated.load({}, seed, data) if suite == COMBINATIONS else DATASETS[suite].load(seed, data)
                _measure(Trial(prepared[0], seed, model, table_file(out, name_of(suite))), missing)
            except NotApplicable as reason:
                print(f"seed {seed}, {model}: {reason}")


@dataclass
class Trial:
    """A model on the data of a seed, and the file of the rows that come out."""

    adata: AnnData
    seed: int
    model: str
    file: Path

    @property
    def n_cells(self) -> int:
        """Cells that each model makes of a condition: one of each control cell, because copies of a cell count as near neighbours."""
        asked = grid.question(self.adata)
        return min(N_CELLS, *(len(one) for one in asked.controls.values()))

    def keep(self, made: AnnData, minutes: float, **notes: object) -> None:
        """Evaluate cells and keep the rows of this budget."""
        table = spr.tl.evaluate(self.adata, keys=[], predictions={self.model: made}, seed=self.seed)
        table = table[table["metric"].isin(METRICS) & table["model"].isin([self.model, *BESIDE])]
        table = table[["model", "kind", "condition", "metric", "value"]]
        split = spr.get.split_manifest(self.adata).hash
        table = table.assign(fitted=self.model, minutes=minutes, seed=self.seed, split=split, **notes)
        add(table, self.file, keys=["seed", "fitted", "minutes"])
        print(f"seed {self.seed}, {self.model}, {minutes:g} min: {notes}", flush=True)


def _measure(trial: Trial, minutes: Sequence[float]) -> None:
    if trial.model == BASE:
        _generator(trial, minutes)
        return
    name, options = _OPTIONS[trial.model]
    if name == "scgen":
        # shifts are added up where there is one context
        options = options | {"sum_parts": not Setup.of(trial.adata).covariate_keys}
    adapter = ADAPTERS[name](**options)
    engine = f"{adapter.package} {adapter.installed_version()}"
    import_module(adapter.module)
    _competitor(trial, adapter, minutes, engine)


def _competitor(trial: Trial, adapter: Adapter, minutes: Sequence[float], engine: str) -> None:
    asked = grid.question(trial.adata)

    def look(budget: float, seconds: float, ended: bool) -> None:
        made = grid.answer(trial.adata, adapter, asked, trial.n_cells, trial.seed)
        stopped = f"{'by itself' if ended else 'out of time'} after {adapter.done}"
        trial.keep(made, budget, cpu_seconds=round(seconds, 1), stopped=stopped, engine=engine)

    adapter.budgets = Budgets(minutes, look)
    adapter.fit(asked.seen.copy(), trial.seed)


def _generator(trial: Trial, minutes: Sequence[float]) -> None:
    adata, seed, engine = trial.adata, trial.seed, f"scperturbrl {version('scperturbrl')}"
    options = {"key_added": BASE, "seed": seed, "progress": False}
    with stopwatch() as around:
        spr.tl.fit_generator(adata, n_steps=1, **options)
    same = False
    for budget in sorted(minutes):
        if not same:
            left = 60 * budget - around.seconds
            with cpu_clock(), stopwatch() as watch:
                spr.tl.fit_generator(adata, max_minutes=left / 60, **options)
            same = _steps_ruled(adata, left)
        fitted, n = adata.uns[BASE]["fitted"], int(adata.uns[BASE]["history"]["step"].iloc[-1])
        made = spr.tl.predict(adata, key=BASE, n_cells=trial.n_cells, seed=seed)
        stopped = f"{fitted['stopped']} after {n} steps"
        trial.keep(made, budget, cpu_seconds=round(watch.seconds, 1), stopped=stopped, engine=engine)


def _steps_ruled(adata: AnnData, seconds: float) -> bool:
    """Whether training ended, and its rate fell, by steps and not by time: more time gives the same generator."""
    record = adata.uns[BASE]
    share = int(record["history"]["step"].iloc[-1]) / record["params"]["n_steps"]
    fitted = record["fitted"]
    return fitted["stopped"] != "out of time" and share > 1.2 * fitted["seconds"] / seconds


def cpu_clock() -> mock._patch[SimpleNamespace]:
    """Let ``max_minutes`` mean CPU minutes, as it does on an idle machine with one thread."""
    return mock.patch.object(flow_fit, "time", SimpleNamespace(perf_counter=time.process_time))


def collect(out: Path, suite: str = COMBINATIONS) -> pd.DataFrame:
    """All cells of a suite measured so far: a row a model, budget, seed and metric, the mean over held-out conditions.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If models of one seed did not have the same split.
    """
    file = table_file(out, name_of(suite))
    table = read(file)
    if table.empty:
        msg = f"Nothing has been measured in {str(file)!r}: run `python -m benchmarks equal-time` first."
        raise FileNotFoundError(msg)
    if (table.groupby("seed")["split"].nunique() > 1).any():
        msg = "Cells of one seed have different splits; delete the rows of one of them."
        raise ValueError(msg)
    columns = ["fitted", "model", "minutes", "seed", "cpu_seconds", "stopped", "engine"]
    return table.groupby([*columns, "metric"], sort=False)["value"].mean().unstack("metric").reset_index()


def markdown(results: pd.DataFrame) -> str:
    """A row a model and budget, median over seeds with the range; the straight lines and real cells below."""
    columns = {
        "pearson_delta": ("Pearson delta", 1.0),
        "energy_distance": ("E-distance", 1.0),
        "mse": ("MSE x 1e3", 1e3),
    }
    names = [label for label, _ in columns.values()]
    lines = [
        "| model | CPU minutes | " + " | ".join(names) + " | CPU s | training ended | seeds |",
        "|---" * (len(names) + 5) + "|",
    ]
    own = results[results["model"] == results["fitted"]]
    for (model, minutes), rows in sorted(own.groupby(["model", "minutes"]), key=_order):
        cells = [_span(rows[name] * scale) for name, (_, scale) in columns.items()]
        ended = _ended(rows["stopped"])
        lines.append(
            f"| {model} | {minutes:g} | {' | '.join(cells)} | {_span(rows['cpu_seconds'])} | {ended} | {len(rows)} |"
        )
    for model in (name for name in BESIDE if name in set(results["model"])):
        rows = results[results["model"] == model].drop_duplicates("seed")
        cells = [_span(rows[name] * scale) for name, (_, scale) in columns.items()]
        label = LABELS.get(model, model.replace("_", " "))
        lines.append(f"| {label} | - | {' | '.join(cells)} | - | - | {len(rows)} |")
    return "\n".join(lines) + "\n"


def fold_markdown(results: pd.DataFrame, table: pd.DataFrame) -> str:
    """A row a fold, budget and metric, a column a model; `results` by :func:`collect` of the rows of `table`."""
    held_out = table.groupby("seed")["condition"].agg(lambda names: ", ".join(sorted(set(names))))
    models = [model for model in MODELS if model in set(results["model"])]
    beside = [model for model in BESIDE if model in set(results["model"])]
    lines = ["| held out | CPU minutes | metric | " + " | ".join([*models, *beside]) + " |"]
    lines.append("|---" * (len(models) + len(beside) + 3) + "|")
    for (seed, minutes), rows in results.groupby(["seed", "minutes"]):
        for metric, (label, scale) in {"energy_distance": ("E-distance", 1.0), "mse": ("MSE x 1e3", 1e3)}.items():
            of = {model: rows.loc[rows["model"] == model, metric] for model in [*models, *beside]}
            cells = [f"{scale * one.iloc[0]:.3g}" if len(one) else "-" for one in of.values()]
            lines.append(f"| {held_out[seed]} | {minutes:g} | {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _order(group: tuple[tuple[str, float], pd.DataFrame]) -> tuple[float, int]:
    model, minutes = group[0]
    return minutes, MODELS.index(model)


def _ended(stopped: pd.Series) -> str:
    """How training ended, equal ends together with the range of their numbers and how often they came."""
    parts = stopped.str.extract(r"^(?P<before>.*?)(?P<n>\d+)(?P<after>\D*)$").astype({"n": int})
    found = []
    for (before, after), own in parts.groupby(["before", "after"], sort=False):
        low, high = own["n"].min(), own["n"].max()
        span = str(low) if low == high else f"{low} to {high}"
        found.append(f"{before}{span}{after}" + (f" ({len(own)})" if len(own) < len(parts) else ""))
    return "; ".join(found)


def _span(values: pd.Series) -> str:
    median = f"{values.median():.3g}"
    return median if len(values) == 1 else f"{median} ({values.min():.3g} to {values.max():.3g})"


def picture(results: pd.DataFrame, file: Path) -> None:
    """Draw each metric against the budget: a point a seed, a line through the medians, and the straight lines across."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    labels = {"pearson_delta": "Pearson delta", "energy_distance": "E-distance", "mse": "MSE"}
    figure, axes = plt.subplots(1, len(METRICS), figsize=(9.6, 3.4), layout="constrained")
    own = results[results["model"] == results["fitted"]]
    for ax, metric in zip(axes, METRICS, strict=True):
        for model in (name for name in MODELS if name in set(own["model"])):
            rows = own[own["model"] == model]
            ax.plot(rows["minutes"], rows[metric], "o", color=_COLOURS[model], markersize=3, alpha=0.5)
            medians = rows.groupby("minutes")[metric].median()
            ax.plot(
                medians.index,
                medians,
                "-o",
                color=_COLOURS[model],
                label=model.replace("_", " ") if ax is axes[0] else None,
            )
        lines = {"additive": ":", "additive_ridge": "--", "context_line": "-."}
        for model, style in ((name, look) for name, look in lines.items() if name in set(results["model"])):
            value = results[results["model"] == model].drop_duplicates("seed")[metric].median()
            label = model.replace("_", " ") if ax is axes[0] else None
            ax.axhline(value, color="#666666", linestyle=style, linewidth=1, label=label)
        ticks = sorted(own["minutes"].unique())
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set(xlabel="CPU minutes", ylabel=labels[metric])
        if metric != "pearson_delta":
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_locator(NullLocator())
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)
