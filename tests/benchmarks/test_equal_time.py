from __future__ import annotations

import importlib.util
import time
from dataclasses import replace

import numpy as np
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.adapters import ADAPTERS, base
from benchmarks.clock import Budgets

from benchmarks import equal_time, kept, simulated


def busy(seconds):
    started = time.process_time()
    while time.process_time() - started < seconds:
        pass


def small(options, seed, data):
    adata = spr.datasets.simulated_perturbseq(
        n_genes=80, n_singles=6, n_doubles=8, n_cells_per_condition=15, n_controls=40, n_programs=6, n_pathways=4
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, fraction=0.3)
    spr.pp.reference(adata)
    return adata, {}


def test_looking_does_not_count_and_no_budget_is_left_out():
    seen = []

    def look(budget, seconds, ended):
        busy(0.1)
        seen.append((budget, round(seconds, 2), ended))

    budgets = Budgets([0.002, 0.001, 1.0], look)
    budgets.start()
    while len(seen) < 2:
        busy(0.005)
        assert not budgets.used_up()
    budgets.end()
    assert [budget for budget, _, _ in seen] == [0.001, 0.002, 1.0]
    assert [ended for _, _, ended in seen] == [False, False, True]
    assert seen[0][1] == pytest.approx(0.06, abs=0.02)
    assert seen[1][1] == pytest.approx(0.12, abs=0.03)
    assert budgets.used_up()


class Growing(base.Adapter):
    """Moves control cells up by one step for each step of training."""

    name = "cellflow"
    package = "numpy"
    module = "numpy"

    def __init__(self, **options):
        self.shift = 0.0

    def fit(self, train, seed):
        self.budgets.start()
        for step in range(1, 1000):
            busy(0.01)
            self.done = f"{step} steps"
            self.shift = 0.01 * step
            if self.budgets.used_up():
                return

    def predict(self, queries, controls, n_cells, seed):
        return {
            str(name): controls[row["group"]].X.toarray()[np.zeros(n_cells, dtype=int)] + self.shift
            for name, row in queries.iterrows()
        }


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    fit = spr.tl.fit_generator
    options = {"n_steps": 30, "width": 16, "n_latent": 6}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "load", small)
        patch.setattr(equal_time, "N_CELLS", 20)
        patch.setitem(ADAPTERS, "cellflow", Growing)
        patch.setattr(spr.tl, "fit_generator", lambda adata, **o: fit(adata, **(options | o)), raising=False)
        equal_time.run([0.001, 0.002], ["cellflow"], [0], out=out)
        equal_time.run([5, 20], ["generator"], [0], out=out)
    return out


def test_every_budget_has_rows_a_line_and_a_point(measured, tmp_path, monkeypatch, capsys):
    assert [file.name for file in measured.iterdir()] == ["equal_time.csv.gz"]
    cells = kept.read(measured / "equal_time.csv.gz").drop_duplicates(["fitted", "minutes"])
    assert cells[["fitted", "minutes"]].to_numpy().tolist() == [
        ["cellflow", 0.001],
        ["cellflow", 0.002],
        ["generator", 5],
        ["generator", 20],
    ]
    results = equal_time.collect(measured)
    theirs = results[results["model"] == "cellflow"].sort_values("minutes")
    assert (theirs["cpu_seconds"] >= 60 * theirs["minutes"] - 0.051).all()
    assert theirs["stopped"].str.fullmatch(r"out of time after \d+ steps").all()
    ours = results[results["model"] == "generator"]
    # it needed less than either budget, so both have the same generator
    assert ours["stopped"].tolist() == ["all steps done after 30 steps"] * 2
    assert ours["energy_distance"].nunique() == 1
    text = equal_time.markdown(results)
    assert text.count("\n") == 2 + 4 + 3
    assert text.index("| cellflow | 0.001 |") < text.index("| cellflow | 0.002 |") < text.index("| generator | 5 |")
    equal_time.picture(results, tmp_path / "equal.png")
    assert (tmp_path / "equal.png").stat().st_size > 1000
    folds = equal_time.fold_markdown(results, kept.read(measured / "equal_time.csv.gz"))
    # of four budgets, two of each model
    assert folds.count("\n") == 2 + 2 * 4
    assert "| generator | cellflow | additive | additive_ridge | split_half |" in folds
    capsys.readouterr()
    monkeypatch.setattr(simulated, "load", small)
    equal_time.run([0.001, 0.002], ["cellflow"], [0], out=measured)
    assert capsys.readouterr().out == "seed 0, cellflow: kept\n"


def test_another_suite_has_a_table_of_its_own_and_no_more_cells_than_controls(monkeypatch, tmp_path):
    def contexts(seed, data):
        adata = spr.datasets.simulated_contexts(
            n_genes=60, n_singles=3, n_cell_types=2, n_cells_per_condition=15, n_controls=25
        )
        spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
        spr.pp.split(adata, holdout="cell_type", values=["B2"])
        spr.pp.reference(adata)
        return adata, {}

    suite = equal_time.DATASETS["contexts"]
    monkeypatch.setitem(equal_time.DATASETS, "contexts", replace(suite, load=contexts))
    asked = []

    class Watched(Growing):
        def predict(self, queries, controls, n_cells, seed):
            asked.append(n_cells)
            return super().predict(queries, controls, n_cells, seed)

    monkeypatch.setitem(ADAPTERS, "cellflow", Watched)
    equal_time.run([0.001], ["cellflow"], [0], out=tmp_path, suite="contexts")
    assert asked == [25]
    assert [file.name for file in tmp_path.iterdir()] == ["equal_time_contexts.csv.gz"]
    results = equal_time.collect(tmp_path, "contexts")
    assert {"cellflow", "context_line", "split_half"} <= set(results["model"])


def test_splits_that_differ_are_not_joined(measured, tmp_path):
    table = kept.read(kept.table_file(measured, equal_time.NAME))
    table.loc[table["minutes"] == 0.001, "split"] = "another"
    kept.keep(table, kept.table_file(tmp_path, equal_time.NAME))
    with pytest.raises(ValueError, match="different splits"):
        equal_time.collect(tmp_path)
    with pytest.raises(FileNotFoundError, match="equal-time"):
        equal_time.collect(tmp_path / "nowhere")


def test_minutes_of_the_generator_are_cpu_minutes(monkeypatch):
    from scperturbrl.flow.training import fit

    with equal_time.cpu_clock():
        started, cpu = fit.time.perf_counter(), time.process_time()
        time.sleep(0.1)
        assert fit.time.perf_counter() - started < 0.05
        assert started == pytest.approx(cpu, abs=0.05)
    assert fit.time is time
