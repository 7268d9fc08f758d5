from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import suites


def held_out(prepared):
    return spr.get.split_manifest(prepared.adata).test


def test_every_suite_is_of_data_sets_that_exist():
    assert {name for group in suites.SUITES.values() for name in group} <= {*suites.DATASETS, *suites.SCREENED}
    assert set(suites.CHECKED) <= {*suites.DATASETS, *suites.TRAINED}
    assert not set(suites.DATASETS) & set(suites.TRAINED)


@pytest.mark.parametrize("seed", [0, 4])
def test_a_cell_type_of_the_contexts_is_held_out(seed, monkeypatch):
    make = spr.datasets.simulated_contexts
    small = {"n_genes": 60, "n_singles": 3, "n_cells_per_condition": 12, "n_controls": 12}
    monkeypatch.setattr(spr.datasets, "simulated_contexts", lambda **o: make(**(o | small)), raising=False)
    with pytest.warns(UserWarning, match="depth"):
        shallow = suites.DATASETS["depth"].load(seed, None)
    assert {name.split("=")[1] for name in held_out(shallow)} == {["A1", "B2"][seed // 4]}
    assert shallow.adata.uns["truth"]["parameters"]["depth_ratio"].tolist() == [0.25, 4]


def test_doses_are_held_out_in_the_middle_and_at_the_top_and_every_drug_keeps_others(monkeypatch):
    make = spr.datasets.simulated_perturbseq
    small = {"n_genes": 60, "n_cells_per_condition": 12, "n_controls": 30}
    monkeypatch.setattr(spr.datasets, "simulated_perturbseq", lambda **o: make(**(o | small)), raising=False)
    obs = suites.DATASETS["doses"].load(0, None).adata.obs
    dose = lambda side: obs.loc[obs["split"] == side].groupby("perturbation", observed=True)["dose"].unique()
    assert sorted(float(value) for (value,) in dose("test")) == [1, 1, 10, 10, 100, 100, 100, 100]
    assert sorted(float(value) for (value,) in dose("validation")) == [1, 10]
    assert (dose("train").drop("control").map(len) >= 3).all()


@pytest.mark.parametrize(
    ("name", "column", "n"),
    [("kang_types_hvg", "cell_type", 7), ("kang_pairs", "cell_type", 7), ("zhao_patients", "patient_id", 5)],
)
def test_every_context_has_a_fold_of_its_own(name, column, n, shared_data, monkeypatch):
    # the reference does not matter here
    monkeypatch.setattr(spr.pp, "reference", lambda adata, **options: None, raising=False)
    found = [held_out(suites.DATASETS[name].load(seed, shared_data)) for seed in range(n)]
    assert all(len(names) == 1 for names in found)
    assert len(set(found)) == n


def test_variable_genes_are_a_subset(shared_data, monkeypatch):
    monkeypatch.setattr(spr.pp, "reference", lambda adata, **options: None, raising=False)
    assert suites.DATASETS["kang_types_hvg"].load(0, shared_data).adata.n_vars == 2000
    assert suites.DATASETS["kang_types"].load(0, shared_data).adata.n_vars == 4805


@pytest.mark.parametrize(("name", "n"), [("schraivogel", 13), ("norman_singles", 17), ("vcc", 5)])
def test_every_target_is_held_out_once_and_in_no_training_condition(name, n, shared_data, monkeypatch):
    monkeypatch.setattr(spr.pp, "reference", lambda adata, **options: None, raising=False)
    found = []
    for seed in range(5):
        prepared = suites.DATASETS[name].load(seed, shared_data)
        manifest = spr.get.split_manifest(prepared.adata)
        found += manifest.test
        trained = {part for label in (*manifest.train, *manifest.validation) for part in label.split("+")}
        assert not trained & set(manifest.test)
        if prepared.embeddings is not None:
            assert set(manifest.test) <= set(prepared.embeddings.index)
    assert len(found) == len(set(found)) == n
    assert not any("+" in label for label in found)


def test_all_targets_are_trained_on_where_only_cells_are_held_out(shared_data):
    prepared = suites.TRAINED["schraivogel_trained"].load(0, shared_data)
    manifest = spr.get.split_manifest(prepared.adata)
    assert len(manifest.train) == 15
    assert manifest.test == manifest.validation == ()


@pytest.mark.parametrize("what", ["singles", "doubles", "contexts", "doses"])
def test_planted_effects_are_held_out_and_known(what, shared_data, monkeypatch):
    monkeypatch.setattr(spr.pp, "reference", lambda adata, **options: None, raising=False)
    prepared = suites.DATASETS[f"planted_{what}"].load(0, shared_data)
    manifest, truth = spr.get.split_manifest(prepared.adata), prepared.adata.uns["truth"]
    assert set(manifest.test) <= set(truth["mean_effects"])
    expected = {
        "singles": lambda name: "+" not in name,
        "doubles": lambda name: "+" in name,
        "contexts": lambda name: name.endswith("cell_type=B cells"),
        "doses": lambda name: name.endswith("dose=0.5"),
    }
    assert all(expected[what](name) for name in manifest.test)
    assert len(manifest.test) == {"singles": 9, "doubles": 5, "contexts": 5, "doses": 3}[what]
    assert manifest.validation


def test_bulk_wells_are_screened_and_no_generator_is_fitted_to_them(shared_data, monkeypatch):
    # RDKit is an extra
    random = lambda smiles: pd.DataFrame(np.random.default_rng(0).normal(size=(len(smiles), 4)), index=smiles.index)
    monkeypatch.setattr(spr.pp, "fingerprint_embeddings", random, raising=False)
    prepared = [suites.SCREENED["lincs"].load(seed, shared_data) for seed in range(5)]
    names = [name.split(" | ")[0] for one in prepared for name in held_out(one)]
    assert len(set(names)) == 349
    trained = spr.get.split_manifest(prepared[0].adata).train
    assert not {name.split(" | ")[0] for name in held_out(prepared[0])} & {name.split(" | ")[0] for name in trained}
    with pytest.raises(ValueError, match=r"no count unit fits the values .*bulk wells.*counts of single cells"):
        spr.tl.fit_generator(prepared[0].adata, n_steps=1, embeddings=prepared[0].embeddings)


@pytest.mark.parametrize("arguments", [["run", "--suites", "lincs"], ["folds", "--suites", "lincs"]])
def test_only_the_screen_takes_bulk_wells(arguments, tmp_path, capsys):
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit):
        main([*arguments, "--out", str(tmp_path)])
    assert "only `screen` takes lincs" in capsys.readouterr().err
