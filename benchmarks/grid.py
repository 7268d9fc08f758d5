"""The grid of data set, seed and model, saved in one table per data set, so that runs can be resumed."""

from __future__ import annotations

import json
import shutil
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd

import scperturbrl as spr
from benchmarks.adapters import ADAPTERS
from benchmarks.adapters.base import NotApplicable
from benchmarks.arms import ARMS, BASELINES, Arm, fitted
from benchmarks.clock import stopwatch
from benchmarks.kept import add, has, read, table_file
from benchmarks.suites import DATASETS
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.adapters.base import Adapter
    from benchmarks.suites import Prepared

SKIPPED = "skipped"
_LABEL, _CONTEXT = "scgen_label", "scgen_context"


def generators(out: Path, dataset: str, seed: int) -> Path:
    """Folder of the generators of a data set and seed."""
    return out / dataset / str(seed) / "generators"


def run(
    datasets: Sequence[str],
    models: Sequence[str],
    seeds: Sequence[int],
    *,
    data: Path,
    out: Path,
    again: bool = False,
) -> None:
    """Measure every cell that is not in the tables yet; an interrupted run, and its generators, can be resumed.

    With `again`, existing cells are measured and existing generators fitted again.
    """
    warnings.filterwarnings("ignore", category=UserWarning)
    for name in datasets:
        for seed in seeds:
            found = read(table_file(out, name))
            missing = [model for model in models if again or not has(found, seed=seed, arm=model)]
            if not missing:
                print(f"{name}, seed {seed}: kept")
                continue
            try:
                prepared = DATASETS[name].load(seed, data)
            except (ConnectionError, FileNotFoundError) as error:
                print(f"{name}, seed {seed}: not available here ({error})")
                continue
            seconds: dict[str, float] = {}
            if again:
                _forget(generators(out, name, seed), missing)
            for model in missing:
                _measure(prepared, name, seed, ARMS[model], out, seconds)


def _forget(folder: Path, models: Sequence[str]) -> None:
    """Remove the saved generators of these models."""
    for model in models:
        shutil.rmtree(folder / model, ignore_errors=True)
        (folder / f"{model}.seconds").unlink(missing_ok=True)


def _measure(prepared: Prepared, dataset: str, seed: int, arm: Arm, out: Path, seconds: dict[str, float]) -> None:
    try:
        with stopwatch() as watch:
            table = _table(prepared, seed, arm, generators(out, dataset, seed), seconds)
    except NotApplicable as reason:
        table = pd.DataFrame([{"model": arm.name, "kind": SKIPPED, "stopped": str(reason)}])
    table = table.assign(suite=dataset, seed=seed, split=spr.get.split_manifest(prepared.adata).hash, arm=arm.name)
    add(table, table_file(out, dataset), keys=["seed", "arm"])
    print(f"{dataset}, seed {seed}, {arm.name}: {watch.seconds:.0f} CPU s", flush=True)


def _table(prepared: Prepared, seed: int, arm: Arm, folder: Path, seconds: dict[str, float]) -> pd.DataFrame:
    adata, judged = prepared.adata, _judged(prepared, seed)
    options: dict[str, Any] = {"networks": prepared.networks, "n_cells": prepared.n_cells, "seed": seed}
    if arm.name == BASELINES:
        return spr.tl.evaluate(judged, keys=[], **options).assign(cpu_seconds=np.nan, stopped="")
    if arm.name in ADAPTERS:
        with stopwatch() as watch:
            made = _by_adapter(adata, arm.name, prepared.n_cells, seed)
        notes: dict[str, Any] = {"cpu_seconds": watch.seconds, "stopped": ""}
        notes["engine_of_model"] = f"{ADAPTERS[arm.name].package} {ADAPTERS[arm.name].installed_version()}"
    elif arm.draw:
        for name in arm.needs:
            fitted(ARMS[name], prepared, seed, folder, seconds)
        with stopwatch() as watch:
            made = arm.draw(adata, prepared.n_cells, seed)
        notes = {
            "cpu_seconds": watch.seconds,
            "stopped": "",
            "engine_of_model": f"scperturbrl {version('scperturbrl')}",
        }
    else:
        fitted(arm, prepared, seed, folder, seconds)
        stopped = adata.uns[arm.name]["fitted"].get("stopped", "")
        notes = {"cpu_seconds": _clocked(folder, arm.name), "stopped": str(stopped)}
        notes["engine_of_model"] = f"scperturbrl {version('scperturbrl')}"
        if prepared.panel is None:
            table = spr.tl.evaluate(judged, keys=[arm.name], **options)
            return table[table["model"] == arm.name].assign(**notes)
        made = spr.tl.predict(adata, key=arm.name, n_cells=prepared.n_cells, seed=seed)
    made = made[:, judged.var_names].copy()
    table = spr.tl.evaluate(judged, keys=[], predictions={arm.name: made}, **options)
    table = table[table["model"] == arm.name]
    roles = _roles(adata, arm.name, table) if arm.name in adata.uns else table["role"]
    return table.assign(role=roles, **notes)


def _roles(adata: ad.AnnData, key: str, table: pd.DataFrame) -> pd.Series:
    """Roles by the rewards of the generator, which are not recorded with its predicted cells."""
    from scperturbrl.data.evaluation.roles import ancestry, metric_roles

    return table["metric"].map(metric_roles(table["metric"].unique(), ancestry(adata.uns, key), {}))


def _clocked(folder: Path, name: str) -> float:
    return float((folder / f"{name}.seconds").read_text())


def _judged(prepared: Prepared, seed: int) -> ad.AnnData:
    """Data for the metrics: all of it, or the genes of the panel with their own reference."""
    if prepared.panel is None:
        return prepared.adata
    adata = prepared.adata[:, prepared.panel].copy()
    manifest = spr.get.split_manifest(prepared.adata)
    adata.uns = {}
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout=manifest)
    spr.pp.reference(adata, seed=seed)
    return adata


class Question(NamedTuple):
    """Input of an adapter: cells to fit to, conditions to predict, and control cells of each group."""

    seen: ad.AnnData
    queries: pd.DataFrame
    controls: dict[str, ad.AnnData]


def question(adata: ad.AnnData) -> Question:
    """Training and validation cells with the labels for adapters, and the test conditions."""
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    labelled = ad.AnnData(cells.expression, obs=pd.DataFrame(index=cells.names), var=adata.var[[]])
    rows = cells.table.iloc[cells.codes]
    labelled.obs[_LABEL] = pd.Categorical(np.where(rows["is_control"], "control", rows["perturbation"]))
    labelled.obs[_CONTEXT] = pd.Categorical(rows["group"])
    seen = labelled[cells.split != "test"].copy()
    queries = cells.table.loc[cells.conditions("test")]
    controls = {str(g): seen[(seen.obs[_LABEL] == "control") & (seen.obs[_CONTEXT] == g)] for g in queries["group"]}
    return Question(seen, queries, controls)


def answer(adata: ad.AnnData, adapter: Adapter, asked: Question, n_cells: int, seed: int) -> ad.AnnData:
    """Cells of a fitted `adapter` for :func:`scperturbrl.tl.evaluate`."""
    setup, queries = Setup.of(adata), asked.queries
    made = adapter.predict(queries, asked.controls, n_cells, seed)
    order = np.repeat(np.arange(len(queries)), n_cells)
    obs = pd.DataFrame({setup.perturbation_key: queries["perturbation"].to_numpy()[order]})
    for i, column in enumerate(setup.covariate_keys):
        obs[column] = queries["covariates"].str[i].to_numpy()[order]
    obs.index = obs.index.astype(str)
    return ad.AnnData(np.concatenate([made[condition] for condition in queries.index]), obs=obs, var=adata.var[[]])


def _by_adapter(adata: ad.AnnData, name: str, n_cells: int, seed: int) -> ad.AnnData:
    """Predicted cells of the test conditions; the adapter gets no test cells."""
    asked, adapter = question(adata), ADAPTERS[name]()
    adapter.installed_version()
    adapter.fit(asked.seen, seed)
    # one from each control cell, as `tl.evaluate` compares those of generators: copies of a cell would count as near neighbours
    return answer(adata, adapter, asked, min(n_cells, *(len(one) for one in asked.controls.values())), seed)


def collect(out: Path, datasets: Sequence[str]) -> pd.DataFrame:
    """All cells measured so far as one table, each metric with its strictest role in any model of the data set."""
    tables = [table for name in datasets if len(table := read(table_file(out, name)))]
    if not tables:
        msg = f"Nothing has been measured in {str(out)!r}: run `python -m benchmarks run` first."
        raise FileNotFoundError(msg)
    table = pd.concat(tables, ignore_index=True)
    severity = {"held-out": 0, "related": 1, "rewarded": 2}
    rank = table["role"].map(severity).groupby([table["suite"], table["metric"]]).transform("max")
    table["role"] = rank.map({number: role for role, number in severity.items()})
    return table


def provenance() -> str:
    """Versions of the packages used, as JSON."""
    names = ("scperturbrl", "torch", "numpy", "scipy", "scikit-learn", "anndata", "pertpy")
    return json.dumps({name: version(name) for name in names})
