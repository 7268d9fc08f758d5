from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.adapters import ADAPTERS, base
from benchmarks.clock import steps_for, stopwatch

from benchmarks import arms, grid, kept, paper, published, real, suites
from scperturbrl.metrics import METRICS

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def busy(seconds):
    started = time.process_time()
    while time.process_time() - started < seconds:
        pass


def test_the_clock_counts_work_and_not_waiting():
    with stopwatch() as watch:
        time.sleep(0.2)
        busy(0.05)
    assert 0.05 <= watch.seconds < 0.15


def test_steps_fill_the_budget_after_what_comes_before_the_first():
    n = steps_for(0.5, lambda steps: busy(0.05 + 0.001 * steps), pilot=(10, 60))
    assert 380 <= n <= 520
    assert steps_for(0.0, lambda steps: busy(0.001 * steps), pilot=(1, 5)) == 1


def test_every_suite_names_data_sets_and_every_default_a_model():
    assert all(name in suites.DATASETS for names in suites.SUITES.values() for name in names)
    assert set(arms.DEFAULT) <= set(arms.ARMS)
    assert all(need in arms.ARMS for arm in arms.ARMS.values() for need in arm.needs)
    assert {"simulated", "kang", "norman", "zhao"} == set(suites.SUITES["main"])


@pytest.mark.skipif(not DATA.exists(), reason="the real data sets are not here")
@pytest.mark.parametrize("name", ["norman", "zhao"])
def test_real_conditions_are_held_out_in_turn(name, monkeypatch):
    monkeypatch.setattr(spr.pp, "reference", lambda adata, **options: None, raising=False)
    held_out = [spr.get.split_manifest(getattr(real, name)(seed, DATA)[0]).test for seed in range(real.FOLDS)]
    assert len({name for test in held_out for name in test}) == sum(map(len, held_out))
    assert all(held_out)


CONDITIONS = ["A", "B", "C", "D", "control", *(f"{a}+{b}" for a in "ABCD" for b in "EFGHIJKLMN")]


def test_splits_of_the_protocol():
    additive = [paper.test_conditions(CONDITIONS, "norman_additive", seed) for seed in range(5)]
    doubles = sorted(name for name in CONDITIONS if "+" in name)
    expected = list(doubles)
    np.random.RandomState(42).shuffle(expected)
    assert additive[0] == expected[:12]
    assert len({tuple(sorted(test)) for test in additive}) == 5
    assert all("+" in name for test in additive for name in test)
    holdout = paper.test_conditions(CONDITIONS, "norman_holdout", 0)
    assert holdout[:12] == expected[:12]
    genes = {gene for double in expected[:12] for gene in double.split("+")}
    assert set(holdout[12:]) == genes & set("ABCD")
    seven = paper.test_conditions([*paper.COMBOSCIPLEX_TEST, "Givinostat", "control"], "combosciplex", 3)
    assert len(seven) == 7


def stand_in(**options):
    sizes = {"n_genes": 120, "n_singles": 5, "n_doubles": 7, "n_cells_per_condition": 20, "n_controls": 40}
    adata = spr.datasets.simulated_perturbseq(**sizes, n_programs=6, n_pathways=4, **options)
    adata.uns = {}
    return adata


def test_the_paper_suite_on_a_stand_in(tmp_path):
    (tmp_path / "paper").mkdir()
    stand_in().write_h5ad(tmp_path / "paper" / "norman_2019.h5ad")
    adata, _, panel, n_cells = paper.load("norman_additive", 0, tmp_path)
    assert n_cells == 128
    assert len(spr.get.split_manifest(adata).test) == 2
    prepared = suites.Prepared(*paper.prepared(stand_in(), "norman_additive", 0, n_genes=80, n_panel=30, n_cells=20))
    assert len(prepared.panel) == 30
    assert {part for name in prepared.adata.obs["perturbation"].unique() for part in name.split("+")} <= {
        *prepared.adata.var_names,
        "control",
    }
    spr.tl.fit_generator(prepared.adata, n_steps=3, width=16, n_latent=6)
    folder = tmp_path / "generators"
    folder.mkdir()
    (folder / "generator.seconds").write_text("1.5")
    table = grid._table(prepared, 0, arms.ARMS["generator"], folder, {})
    baselines = grid._table(prepared, 0, arms.ARMS["baselines"], folder, {})
    assert set(table["n_cells"]) == {20}
    # metrics look at the panel only
    panel = prepared.adata[:, prepared.panel]
    condition = table["condition"].iloc[0]
    cells = panel[panel.obs["perturbation"] == condition].X.toarray().mean(0)
    control = panel[panel.obs["perturbation"] == "control"].X.toarray().mean(0)
    l2 = baselines[(baselines["model"] == "control") & (baselines["metric"] == "l2")].set_index("condition")["value"]
    assert l2[condition] == pytest.approx(np.linalg.norm(cells - control), rel=1e-4)


@pytest.mark.parametrize("name", list(paper.DATASETS))
def test_published_rows_stand_under_our_metrics(name):
    table = published.table(name)
    assert set(table.columns) <= set(METRICS)
    assert table["l2"].min() > 1


class Shift(base.Adapter):
    """The mean shift of all training contexts."""

    name = "shift"
    package = "numpy"

    def fit(self, train, seed):
        assert set(train.obs.columns) == {"scgen_label", "scgen_context"}
        self.seen = set(train.obs_names)
        label = train.obs["scgen_label"].to_numpy() == "control"
        self.shift = np.asarray(train.X[~label].mean(0) - train.X[label].mean(0)).ravel()

    def predict(self, queries, controls, n_cells, seed):
        return {
            str(name): np.maximum(controls[row["group"]].X.toarray()[:n_cells] + self.shift, 0)
            for name, row in queries.iterrows()
        }


def test_an_adapter_sees_no_test_cell_and_lands_in_the_grid(monkeypatch, tmp_path):
    context = stand_in(cell_types=("T", "B"))
    spr.pp.setup_anndata(context, covariate_keys=["cell_type"])
    spr.pp.split(context, holdout="cell_type", values=["B"])
    spr.pp.reference(context)
    monkeypatch.setitem(ADAPTERS, "shift", Shift)
    made = grid._by_adapter(context, "shift", 10, 0)
    assert isinstance(made, ad.AnnData)
    assert set(made.obs["cell_type"]) == {"B"}
    table = grid._table(suites.Prepared(context, {}, None, 10), 0, arms.Arm("shift"), tmp_path, {})
    assert set(table["model"]) == {"shift"}
    assert table["engine_of_model"].iloc[0].startswith("numpy ")


def test_what_does_not_apply_or_is_not_installed_is_noted(monkeypatch, tmp_path):
    class Absent(Shift):
        package = "no-such-package"

    monkeypatch.setitem(ADAPTERS, "absent", Absent)
    adata = stand_in()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    grid._measure(suites.Prepared(adata, {}), "toy", 0, arms.Arm("absent"), tmp_path, {})
    row = kept.read(kept.table_file(tmp_path, "toy")).iloc[0]
    assert (row["kind"], row["stopped"]) == ("skipped", "no-such-package is not installed")
    obs = pd.DataFrame({"scgen_label": list("aabb"), "scgen_context": ["x"] * 4}, index=list("abcd"))
    cells = ad.AnnData(np.ones((4, 2)), obs=obs)
    with pytest.raises(base.NotApplicable, match="in other contexts"):
        ADAPTERS["scgen"]().fit(cells, 0)


def test_arms_with_equal_time_take_as_many_rounds_as_fit_into_it(monkeypatch):
    asked, rounds = [], []
    monkeypatch.setattr(arms, "steps_for", lambda seconds, train, pilot: asked.append((seconds, pilot)) or 23)
    monkeypatch.setattr(
        spr.tl, "rl_finetune", lambda adata, **options: rounds.append(options.get("n_iterations")), raising=False
    )
    equal, free = arms.ARMS["rewards_only"], arms.ARMS["unguarded_60"]
    prepared = suites.Prepared(None, {}, None, 20)
    equal.make(prepared, 0, {arms.RL: 4.5})
    free.make(prepared, 0, {})
    assert asked == [(4.5, arms.PILOT_ROUNDS)]
    assert rounds == [23, 60]
    assert arms.RL in equal.needs
    assert arms.RL not in free.needs
