from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.__main__ import main

from benchmarks import suites, trained
from scperturbrl.data.cells.cells import Cells
from scperturbrl.metrics import energy_distance, mse


def tiny(seed, data):
    adata = spr.datasets.simulated_perturbseq(
        n_genes=60, n_singles=4, n_doubles=2, n_cells_per_condition=60, n_controls=120, library_size=800, seed=seed
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, fraction=0.4, seed=seed)
    return suites.Prepared(adata, {})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(suites.TRAINED, "toy", suites.Dataset("toy", tiny, "a toy"))
        fit = spr.tl.fit_generator
        small = {"n_steps": 30, "width": 16, "n_latent": 6}
        patch.setattr(spr.tl, "fit_generator", lambda adata, **o: fit(adata, **(o | small)), raising=False)
        yield out, trained.run(["toy"], [0], data=out, out=out)


def test_a_third_of_each_training_condition_is_held_out_and_nothing_else():
    adata = tiny(0, None).adata
    halves = trained.without_a_third(adata, 0)
    conditions = Cells.of(adata).conditions("train")
    assert set(halves.held_out) == set(conditions)
    for condition, rows in halves.held_out.items():
        assert len(rows) == 20
        assert (adata.obs["perturbation"].iloc[rows] == condition).all()
        assert not set(adata.obs_names[rows]) & set(halves.kept.obs_names)
    assert halves.kept.n_obs == adata.n_obs - 20 * len(conditions)
    assert (halves.kept.obs["perturbation"] == "control").sum() == 120


def test_generated_cells_have_the_library_sizes_of_the_held_out_ones(monkeypatch):
    adata, given, generate = tiny(0, None).adata, [], trained.generate_cells
    halves = trained.without_a_third(adata, 0)
    spr.tl.fit_generator(halves.kept, n_steps=10, width=16, n_latent=6)
    monkeypatch.setattr(trained, "generate_cells", lambda *a, **o: given.append(o["unit"]) or generate(*a, **o))
    kept = Cells.of(halves.kept)
    some = np.flatnonzero(kept.table["is_control"].to_numpy()[kept.codes])
    made = trained._generated(halves, kept, {name: some[: len(rows)] for name, rows in halves.held_out.items()}, 0)
    assert list(made) == list(halves.held_out)
    # together, so that conditions do not share random numbers
    assert len(given) == 1
    of_each = np.split(given[0], np.cumsum([len(rows) for rows in halves.held_out.values()])[:-1])
    for (condition, rows), unit in zip(halves.held_out.items(), of_each, strict=True):
        assert made[condition].shape == (len(rows), adata.n_vars)
        totals = np.asarray(adata.layers["counts"][rows].sum(axis=1)).ravel()
        np.testing.assert_allclose(np.sort(unit), np.sort(1e4 / totals), rtol=1e-3)


def test_every_condition_has_generated_cells_controls_and_real_cells(results):
    _, table = results
    assert set(table["model"]) == {"generated", "controls", "halves"}
    assert set(table["metric"]) == set(trained.COLUMNS)
    assert (table.groupby(["condition", "metric"]).size() == 3).all()
    assert table["value"].notna().all()
    means = table[table["metric"] == "mse"].groupby("model")["value"].mean()
    assert means["halves"] < means["controls"]


def test_figures_are_those_of_the_metrics():
    first, second = np.random.default_rng(0).normal(size=(2, 30, 5)).astype(np.float32)
    projection = np.eye(5)[:, :2].astype(np.float32)
    values = trained.compared(first, second, projection, 0)
    assert values["energy_distance"] == pytest.approx(energy_distance(first[:, :2], second[:, :2]))
    assert values["mse"] == pytest.approx(mse(first.mean(0), second.mean(0)), rel=1e-4)


def test_what_was_measured_is_one_compressed_table_and_is_not_measured_again(results, capsys, monkeypatch):
    out, table = results
    assert [file.name for file in out.iterdir()] == ["trained.csv.gz"]
    monkeypatch.setattr(trained, "measured", None)
    again = trained.run(["toy"], [0], data=out, out=out)
    assert len(again) == len(table)
    assert capsys.readouterr().out == "toy, seed 0: kept\n"


def line(generated):
    values = {
        "energy_distance": (generated, 1.0, 0.0),
        "mse": (0.013 * (1 + generated), 0.1, 0.012),
        "zero_fraction_error": (0.03, 0.1, 0.02),
        "classifier_auroc": (0.6, 0.9, 0.5),
    }
    return pd.DataFrame(
        {"suite": "a", "seed": 0, "condition": "x", "model": model, "metric": name, "value": value}
        for name, found in values.items()
        for model, value in zip(trained.MODELS, found, strict=True)
    )


def test_the_table_says_what_misses_its_limit():
    good = trained.markdown(line(0.09)).splitlines()
    assert good[-1] == "| a | 1 | 0.09 (1; 0) | 14.2 (100; 12) | 0.03 (0.1; 0.02) | 0.6 (0.9; 0.5) | - |"
    assert good[2].count("|") == 8
    assert trained.markdown(line(0.5)).splitlines()[-1].endswith("| E-distance, MSE |")


def test_the_command_line_refuses_other_uses_of_data_with_nothing_held_out(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--suites", "schraivogel_trained"])
    assert "only `trained` takes schraivogel_trained" in capsys.readouterr().err
