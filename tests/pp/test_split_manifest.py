from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

import scperturbrl as spr
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.pp import SplitManifest

SINGLES, DOUBLES = list("ABCDEFGH"), ["A+B", "A+C", "B+C", "D+E", "F+G", "G+H", "E+F"]


def make(labels, **columns):
    frame = pd.DataFrame({"perturbation": labels, **columns})
    frame.index = [f"c{i}" for i in range(len(frame))]
    genes = pd.DataFrame(index=list("ABCDEFGH"))
    adata = AnnData(np.full((len(frame), len(genes)), 0.5, dtype=np.float32), obs=frame, var=genes)
    spr.pp.setup_anndata(adata, covariate_keys=list(columns))
    return adata


def screen():
    return make(["control", *SINGLES, *DOUBLES] * 2)


@pytest.fixture
def adata():
    found = screen()
    spr.pp.split(found, seed=3)
    return found


def test_saved_and_applied_it_is_the_same_split(adata, tmp_path):
    manifest = spr.get.split_manifest(adata)
    manifest.save(tmp_path / "split.json")
    assert SplitManifest.load(tmp_path / "split.json") == manifest
    for given_as in (manifest, tmp_path / "split.json", str(tmp_path / "split.json")):
        other = screen()
        spr.pp.split(other, holdout=given_as)
        assert other.obs["split"].tolist() == adata.obs["split"].tolist()
        assert other.uns["scperturbrl"]["split"]["hash"] == manifest.hash


def test_it_survives_a_file(adata, tmp_path):
    from anndata import read_h5ad

    adata.write_h5ad(tmp_path / "a.h5ad")
    assert spr.get.split_manifest(read_h5ad(tmp_path / "a.h5ad")) == spr.get.split_manifest(adata)


def test_an_edited_file_is_refused(adata, tmp_path):
    path = tmp_path / "split.json"
    spr.get.split_manifest(adata).save(path)
    record = json.loads(path.read_text())
    record["train"].append(record["test"].pop())
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="the file was changed"):
        SplitManifest.load(path)


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"train": 1}'])
def test_what_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="is not a split manifest"):
        SplitManifest.load(tmp_path / "x.json")


def test_other_conditions_are_refused(adata):
    manifest = spr.get.split_manifest(adata)
    other = make(["control", "A", "Z"])
    with pytest.raises(ValueError, match=r"1 of `adata` are not in it \(\['Z'\]\)"):
        spr.pp.split(other, holdout=manifest)
    assert "split" not in other.obs


def test_control_cells_cannot_be_held_out():
    manifest = SplitManifest("x", 0, train=("A",), validation=(), test=("control",))
    with pytest.raises(ValueError, match="holds out control cells"):
        spr.pp.split(make(["control", "A"]), holdout=manifest)


def test_no_split_is_said():
    with pytest.raises(ValueError, match="is not split"):
        spr.get.split_manifest(screen())


@given(k=st.integers(2, 7), seed=st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_folds_hold_out_every_combination_once(k, seed):
    folds = spr.pp.split_folds(screen(), k=k, seed=seed)
    assert sorted(name for fold in folds for name in fold.test) == sorted(DOUBLES)
    assert len({fold.hash for fold in folds}) == k
    for fold in folds:
        parts = {part for name in fold.test for part in name.split("+")}
        assert parts <= set(fold.train)
        assert max(map(len, (f.test for f in folds))) - len(fold.test) <= 1


def test_folds_by_covariate_and_by_perturbation():
    labels, kinds = ["control", "A", "B"], ["T", "B", "NK"]
    crossed = make(labels * 3, cell_type=np.repeat(kinds, 3))
    by_type = spr.pp.split_folds(crossed, holdout="cell_type", k=3)
    assert [{name.split("=")[1] for name in fold.test} for fold in by_type] != []
    assert sorted(name for fold in by_type for name in fold.test) == sorted(
        f"{label} | cell_type={kind}" for label in "AB" for kind in kinds
    )
    by_gene = spr.pp.split_folds(screen(), holdout="perturbations", k=4)
    for fold in by_gene:
        alone = {name for name in fold.test if "+" not in name}
        train = {part for name in (*fold.train, *fold.validation) for part in name.split("+")}
        assert not alone & train


@pytest.mark.parametrize("k", [1, 8])
def test_impossible_numbers_of_folds_are_refused(k):
    with pytest.raises(ValueError, match="at most 7"):
        spr.pp.split_folds(screen(), k=k)


@given(parts_seen=st.sampled_from([0, 1, 2]), seed=st.integers(0, 10**6), fraction=st.floats(0, 0.5))
@settings(max_examples=20, deadline=None)
def test_exactly_so_many_parts_stay_in_training(parts_seen, seed, fraction):
    adata = screen()
    spr.pp.split(adata, parts_seen=parts_seen, fraction=fraction, seed=seed, validation_fraction=0)
    manifest = spr.get.split_manifest(adata)
    chosen = manifest.holdout.removeprefix("combinations: ").split("; without ")[0].split(", ")
    removed = set(manifest.holdout.partition("; without ")[2].split(", ")) - {""}
    assert set(chosen) <= set(manifest.test)
    for name in chosen:
        assert len(set(name.split("+")) & set(manifest.train)) == parts_seen
    for name in manifest.train:
        assert not set(name.split("+")) & removed


def test_parts_seen_is_recorded_with_every_number(toy_table):
    assert set(toy_table["parts_seen"]) <= {0, 1}
    combined = toy_table[toy_table["n_parts"] == 2]
    assert set(combined["parts_seen"]) == {1}


@pytest.fixture(scope="module")
def toy_table():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, parts_seen=1, fraction=0.2, validation_fraction=0)
    spr.pp.reference(adata)
    return spr.tl.evaluate(adata, keys=[], verifiers=["rmse_topk"], max_cells=30)


@pytest.mark.parametrize("options", [{"holdout": "perturbations"}, {"values": ["A+B"]}, {"parts_seen": -1}])
def test_parts_seen_is_for_drawn_combinations(options):
    with pytest.raises(ValueError, match="`parts_seen="):
        spr.pp.split(screen(), **{"parts_seen": 1} | options)


def test_too_many_parts_seen_are_refused():
    with pytest.raises(ValueError, match="exactly 3 of its parts seen"):
        spr.pp.split(screen(), parts_seen=3)


def test_order_of_names_does_not_change_the_hash():
    adata = screen()
    spr.pp.split(adata)
    manifest = spr.get.split_manifest(adata)
    turned = SplitManifest("y", 5, manifest.train[::-1], manifest.validation, manifest.test[::-1])
    assert turned.hash == manifest.hash
    table, _ = condition_table(adata, Setup.of(adata))
    assert set(manifest.labels(table.index)) == set(adata.obs["split"])
