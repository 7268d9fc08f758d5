from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

import scperturbrl as spr
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.split.manifest import SplitManifest


def make(labels, **columns):
    frame = pd.DataFrame({"perturbation": labels, **columns})
    frame.index = [f"c{i}" for i in range(len(frame))]
    genes = pd.DataFrame(index=list("ABCDEFXY"))
    adata = AnnData(np.full((len(frame), len(genes)), 0.5, dtype=np.float32), obs=frame, var=genes)
    spr.pp.setup_anndata(adata, covariate_keys=[name for name in columns if name != "given"])
    return adata


SINGLES, DOUBLES = list("ABCDEF"), ["A+B", "A+C", "B+C", "D+E", "X+Y", "A+X"]


def screen():
    return make(["control", *SINGLES, *DOUBLES] * 2)


def crossed():
    labels = ["control", *"ABCD", "A+B"]
    types = ["T", "B", "NK", "Mono"]
    return make(labels * len(types), cell_type=np.repeat(types, len(labels)))


def parts_of(adata):
    record = adata.uns["scperturbrl"]["split"]
    return {label: {str(name) for name in record[label]} for label in ("train", "validation", "test")}


def no_leak(adata):
    table, codes = condition_table(adata, Setup.of(adata))
    per_condition = adata.obs["split"].astype(str).groupby(codes).nunique()
    assert (per_condition == 1).all()
    control = table["is_control"].to_numpy()[codes]
    assert (adata.obs["split"][control] == "train").all()
    names = parts_of(adata)
    assert set.union(*names.values()) == set(table.index)
    assert sum(map(len, names.values())) == len(table)
    of = {name: label for label, found in names.items() for name in found}
    assert [of[name] for name in table.index[codes]] == adata.obs["split"].tolist()
    assert isinstance(adata.obs["split"].dtype, pd.CategoricalDtype)


@given(seed=st.integers(0, 10**6), fraction=st.floats(0, 0.99), validation=st.floats(0, 0.99))
@settings(max_examples=40, deadline=None)
def test_parts_of_held_out_combinations_stay_in_training(seed, fraction, validation):
    adata = screen()
    spr.pp.split(adata, fraction=fraction, validation_fraction=validation, seed=seed)
    no_leak(adata)
    names = parts_of(adata)
    assert names["test"]
    assert names["test"] <= {"A+B", "A+C", "B+C", "D+E"}
    for combination in names["test"]:
        assert set(combination.split("+")) <= names["train"]
    if len(names["test"]) <= 2:
        assert names["validation"] <= {"A+B", "A+C", "B+C", "D+E"}


def test_the_last_combination_leaves_no_part_of_it_for_validation():
    for seed in range(20):
        adata = make(["control", "A", "B", "A+B", "C"])
        spr.pp.split(adata, seed=seed, validation_fraction=0.4)
        assert parts_of(adata) == {"test": {"A+B"}, "train": {"A", "B", "control"}, "validation": {"C"}}


def test_without_a_spare_condition_there_is_no_validation():
    adata = make(["control", "A", "B", "C", "A+B+C"])
    spr.pp.split(adata)
    assert parts_of(adata) == {"test": {"A+B+C"}, "train": {"A", "B", "C", "control"}, "validation": set()}


@given(seed=st.integers(0, 10**6), fraction=st.floats(0, 0.4))
@settings(max_examples=20, deadline=None)
def test_a_held_out_perturbation_takes_its_combinations_along(seed, fraction):
    adata = screen()
    spr.pp.split(adata, holdout="perturbations", fraction=fraction, seed=seed)
    no_leak(adata)
    held_out = adata.uns["scperturbrl"]["split"]["holdout"].removeprefix("perturbations: ").split(", ")
    seen = set("+".join(parts_of(adata)["train"] - {"control"}).split("+"))
    assert not seen & set(held_out)
    assert all(set(name.split("+")) & set(held_out) for name in parts_of(adata)["test"])


def test_a_held_out_context_keeps_its_controls():
    adata = crossed()
    spr.pp.split(adata, holdout="cell_type", values=["NK"], validation_fraction=0.25)
    no_leak(adata)
    names = parts_of(adata)
    assert names["test"] == {f"{label} | cell_type=NK" for label in [*"ABCD", "A+B"]}
    assert "control | cell_type=NK" in names["train"]
    assert len({name.split("=")[1] for name in names["validation"]}) == 1
    assert len(names["validation"]) == 5


@pytest.mark.parametrize("holdout", ["combinations", "perturbations", "cell_type"])
def test_validation_conditions_are_of_the_held_out_kind(holdout):
    adata = crossed()
    spr.pp.split(adata, holdout=holdout, fraction=0.3, seed=2, validation_fraction=0.3)
    no_leak(adata)
    names = parts_of(adata)
    if holdout == "perturbations":
        held_out = {part for name in names["validation"] for part in name.split(" | ")[0].split("+")}
        assert all(
            part not in "".join(n.split(" | ")[0] for n in names["train"] if "control" not in n)
            for part in held_out - set("AB")
        )
    if holdout == "cell_type":
        assert {n.split("=")[1] for n in names["validation"]}.isdisjoint(
            n.split("=")[1] for n in names["train"] if "control" not in n
        )


def test_every_spelling_of_a_value_is_understood():
    adata = screen()
    spr.pp.split(adata, values="C+A", validation_fraction=0)
    assert parts_of(adata)["test"] == {"A+C"}
    assert parts_of(adata)["validation"] == set()
    assert adata.obs["split"].cat.categories.tolist() == ["train", "test"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"holdout": "combination"}, KeyError, "Did you mean 'combinations'.*must be declared"),
        ({"holdout": "cell_typ"}, KeyError, "Did you mean 'cell_type'"),
        ({"values": ["A+D"]}, KeyError, "'A\\+D' cannot be held out with `holdout='combinations'`.*'A\\+B'"),
        ({"holdout": "perturbations", "values": ["Z"]}, KeyError, "Available: 'A', 'B', 'C', 'D'"),
        ({"holdout": "cell_type", "values": ["nk"]}, KeyError, "Did you mean 'NK'"),
        (
            {"holdout": "cell_type", "values": ["T", "B", "NK", "Mono"]},
            ValueError,
            "leaves no perturbed condition for training",
        ),
        ({"fraction": 1.0}, ValueError, "`fraction` is 1.0"),
        ({"validation_fraction": -0.1}, ValueError, "`validation_fraction` is -0.1"),
        ({"holdout": "column"}, ValueError, "needs `column=`"),
        ({"holdout": "column", "column": "nope"}, KeyError, "no column 'nope'"),
    ],
)
def test_what_cannot_be_held_out_is_refused(options, error, message):
    adata = crossed()
    with pytest.raises(error, match=message):
        spr.pp.split(adata, **options)
    assert "split" not in adata.obs
    assert "split" not in adata.uns["scperturbrl"]


def test_combinations_without_their_singles_cannot_be_held_out():
    with pytest.raises(ValueError, match="no combination has all of its parts measured alone"):
        spr.pp.split(make(["control", "A", "A+B"]))


def test_holding_out_the_only_perturbation_is_refused():
    with pytest.raises(ValueError, match="leaves no perturbed condition"):
        spr.pp.split(make(["control", "A"]), holdout="perturbations")


def given_column(values):
    adata = make(["control", "control", "A", "A", "B", "C"], given=values)
    spr.pp.split(adata, holdout="column", column="given")
    return adata


def test_a_given_column_is_followed_and_controls_are_training():
    adata = given_column(["test", "train", "train", "train", "validation", "test"])
    no_leak(adata)
    assert parts_of(adata) == {"train": {"A", "control"}, "validation": {"B"}, "test": {"C"}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["train"] * 3 + ["test"] * 3, r"different parts of the split: \['A'\]"),
        (["train"] * 5 + ["holdout"], r"holds \['holdout'\]"),
        (["train"] * 5 + [None], "has 1 missing values"),
        (["train"] * 2 + ["test"] * 4, "Holding out column given leaves no perturbed condition"),
    ],
)
def test_a_given_column_is_checked(values, message):
    with pytest.raises(ValueError, match=message):
        given_column(values)


def test_the_seed_decides_and_generators_are_accepted():
    drawn = []
    for seed in (0, 0, np.random.default_rng(5), np.random.default_rng(5), 3, 4, 5, 6):
        adata = screen()
        spr.pp.split(adata, fraction=0.5, seed=seed)
        drawn.append(adata.uns["scperturbrl"]["split"]["hash"])
    assert drawn[0] == drawn[1]
    assert drawn[2] == drawn[3]
    assert len(set(drawn)) > 2


def test_the_order_of_cells_does_not_matter():
    adata = screen()
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    for one in (adata, shuffled):
        spr.pp.split(one, seed=1)
    assert adata.uns["scperturbrl"]["split"]["hash"] == shuffled.uns["scperturbrl"]["split"]["hash"]
    pd.testing.assert_series_equal(adata.obs["split"], shuffled.obs["split"][adata.obs_names])


def test_the_hash_is_of_the_split_and_not_of_how_it_came_about():
    adata = screen()
    spr.pp.split(adata, seed=1)
    first = adata.uns["scperturbrl"]["split"]
    adata.obs["given"] = adata.obs["split"].astype(str)
    spr.pp.split(adata, holdout="column", column="given", seed=9)
    second = adata.uns["scperturbrl"]["split"]
    assert first["hash"] == second["hash"]
    assert first["holdout"] != second["holdout"]
    spr.pp.split(adata, values=["D+E"])
    assert adata.uns["scperturbrl"]["split"]["hash"] != first["hash"]


def test_a_manifest_gives_labels_back():
    manifest = SplitManifest("x", 0, ("a", "c"), ("b",), ("d",))
    assert manifest.labels(pd.Index(["d", "a", "b", "c"])).tolist() == ["test", "train", "validation", "train"]
    assert manifest.hash == SplitManifest("y", 1, ("c", "a"), ("b",), ("d",)).hash
    assert manifest.hash != SplitManifest("x", 0, ("a",), ("b", "c"), ("d",)).hash


def test_a_new_split_removes_the_reference_of_the_old_one(toy):
    spr.pp.split(toy, seed=7)
    assert "reference" not in toy.uns["scperturbrl"]
    with pytest.raises(ValueError, match="has no reference"):
        spr.tl.score(toy)


def test_a_covariate_of_one_value_cannot_be_held_out(toy):
    toy.obs["donor"] = "only"
    spr.pp.setup_anndata(toy, covariate_keys=["donor"])
    with pytest.raises(ValueError, match=r"all perturbed cells have the same donor"):
        spr.pp.split(toy, holdout="donor")


def test_a_column_of_the_user_is_not_replaced_without_a_word(toy, monkeypatch):
    told = []
    monkeypatch.setattr("scperturbrl.data.split.manifest.log.tell", told.append)
    toy.obs["split"] = "fold 1"
    toy.uns["scperturbrl"].pop("split", None)
    spr.pp.split(toy)
    assert any("`obs['split']` existed and is replaced" in message for message in told)
    told.clear()
    spr.pp.split(toy, seed=1)
    assert not any("existed" in message for message in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": []}, "`values` is empty. Name what to hold out"),
        ({"holdout": "nothing", "values": ["A+B"]}, "`holdout` is 'nothing', which does not use it"),
        ({"holdout": "column", "column": "given", "values": ["A+B"]}, "`holdout` is 'column', which does not use it"),
        ({"column": "given"}, "`column` is 'given', but `holdout` is 'combinations'. To follow the column"),
    ],
)
def test_nothing_that_is_given_is_ignored(options, message):
    adata = screen()
    with pytest.raises(ValueError, match=message):
        spr.pp.split(adata, **options)
    assert "split" not in adata.obs
    spr.pp.split(adata)
    manifest = spr.get.split_manifest(adata)
    with pytest.raises(ValueError, match="`holdout` is a manifest, which does not use it"):
        spr.pp.split(adata, holdout=manifest, values=["A+B"])


def test_a_screen_without_combinations_can_hold_out_perturbations():
    adata = make(["control", *SINGLES] * 2)
    with pytest.raises(ValueError, match=r"Hold out perturbations \(`holdout='perturbations'`\), or a covariate"):
        spr.pp.split(adata)
