from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

import scperturbrl as spr


def make(sizes, genes="ABCDEFXY", covariates=()):
    """Screen with so many cells of every (label, *covariate values)."""
    rows = [row if isinstance(row, tuple) else (row,) for row, n in sizes.items() for _ in range(n)]
    frame = pd.DataFrame(rows, columns=["perturbation", *covariates], index=[f"c{i}" for i in range(len(rows))])
    var = pd.DataFrame(index=list(genes))
    adata = AnnData(np.full((len(frame), len(var)), 0.5, dtype=np.float32), obs=frame, var=var)
    spr.pp.setup_anndata(adata, covariate_keys=list(covariates))
    return adata


def contexts(sizes, labels="AB"):
    return {(label, context): n for context, n in sizes.items() for label in ["control", *labels]}


def parts(adata):
    record = adata.uns["scperturbrl"]["split"]
    return {label: {str(name) for name in record[label]} for label in ("train", "validation", "test")}


def n_cells(adata, label):
    return int(((adata.obs["split"] == label) & (adata.obs["perturbation"] != "control")).sum())


@pytest.fixture
def said(monkeypatch):
    lines = []
    for level in ("note", "tell"):
        monkeypatch.setattr(f"scperturbrl._core.log.{level}", lines.append)
    return lines


def test_one_line_tells_what_was_split(said):
    adata = make({"control": 7, **dict.fromkeys("ABCDEF", 5), "A+B": 4, "C+D": 4, "A+C": 2})
    spr.pp.split(adata, values=["A+B"], seed=1)
    (line,) = [each for each in said if "split:" in each]
    assert "test 1 conditions (4 cells)" in line
    assert f"validation 1 conditions ({n_cells(adata, 'validation')} cells)" in line
    assert f"training 7 conditions ({n_cells(adata, 'train')} cells); 7 control cells in training" in line


@given(
    sizes=st.lists(st.integers(1, 40), min_size=4, max_size=9),
    seed=st.integers(0, 10**6),
    holdout=st.sampled_from(["combinations", "perturbations", "cell_type"]),
)
@settings(max_examples=40, deadline=None)
def test_validation_is_at_most_a_tenth_of_the_perturbed_cells(sizes, seed, holdout):
    labels = [*"ABCDEF", "A+B", "C+D", "E+F"]
    cells = {(label, f"T{i}"): n for i, n in enumerate(sizes) for label in ["control", *labels]}
    adata = make(cells, covariates=["cell_type"])
    spr.pp.split(adata, holdout=holdout, seed=seed)
    perturbed = adata.n_obs - int((adata.obs["perturbation"] == "control").sum())
    assert n_cells(adata, "validation") <= 0.1 * perturbed


def test_more_is_taken_when_it_is_asked_for():
    adata = make(contexts({"T": 10, "B": 10, "NK": 10}), covariates=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=["T"], validation_fraction=0.4)
    assert {name.split("=")[1] for name in parts(adata)["validation"]} <= {"B", "NK"}
    assert n_cells(adata, "validation") == 20


def test_with_few_contexts_other_conditions_that_fit_watch():
    adata = make(contexts({"T": 10, "B": 10, "NK": 10}, labels="ABCDEF"), covariates=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=["T"])
    assert len(parts(adata)["validation"]) == 1
    assert n_cells(adata, "validation") == 10


def test_where_nothing_fits_validation_is_empty_and_that_is_said(said):
    adata = make(contexts({"T": 10, "B": 10, "NK": 10}, labels="A"), covariates=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=["T"])
    assert parts(adata)["validation"] == set()
    assert any("validation none" in line for line in said)
    assert any("no condition that can be spared has at most 10%" in line for line in said)


@pytest.mark.parametrize("seed", range(6))
def test_the_only_relative_of_a_held_out_condition_stays_in_training(seed):
    # of X nothing else is trained on than X in B
    cells = contexts({"T": 50, "B": 50, "NK": 50}, labels="AC") | {("X", "T"): 5, ("X", "B"): 5}
    adata = make(cells, covariates=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=["T"], seed=seed)
    assert "X | cell_type=B" in parts(adata)["train"]


@pytest.mark.parametrize("seed", range(6))
def test_the_context_whose_controls_are_most_alike_stays_in_training(seed):
    adata = make(contexts({"T": 60, "B": 5, "NK": 5, "Mono": 60}, labels="A"), covariates=["cell_type"])
    adata.X[(adata.obs["cell_type"] == "B").to_numpy()] = 0.6
    adata.X[(adata.obs["cell_type"] == "NK").to_numpy()] = 2.5
    adata.X[(adata.obs["cell_type"] == "Mono").to_numpy()] = 1.5
    spr.pp.split(adata, holdout="cell_type", values=["T"], seed=seed)
    assert parts(adata)["validation"] == {"A | cell_type=NK"}


def test_a_condition_without_relatives_is_warned_about():
    cells = contexts({"T": 5, "B": 5}) | {("X", "T"): 5}
    adata = make(cells, covariates=["cell_type"])
    with pytest.warns(
        UserWarning, match=r"1 test conditions share neither perturbation nor context with training.*'X \| cell_type=T'"
    ):
        spr.pp.split(adata, holdout="cell_type", values=["T"])


def test_doses_on_both_sides_of_a_split_are_told(said):
    adata = make({"control": 5, "A": 10, "B": 10})
    adata.obs["dose"] = [1.0] * 10 + [5.0] * 5 + [1.0] * 10
    spr.pp.setup_anndata(adata, dose_key="dose")
    adata.obs["fold"] = np.where((adata.obs["perturbation"] == "A") & (adata.obs["dose"] == 5), "test", "train")
    spr.pp.split(adata, holdout="column", column="fold")
    assert any("1 test conditions are in training at another dose ('A | dose=5')" in line for line in said)
    said.clear()
    spr.pp.split(adata, holdout="perturbations", values=["A"])
    assert parts(adata)["test"] == {"A | dose=1", "A | dose=5"}
    assert not any("another dose" in line for line in said)


def test_only_what_can_be_predicted_is_drawn(said):
    adata = make({"control": 5, **dict.fromkeys("ABCDEFPQRS", 5)}, genes="ABCDEF")
    for seed in range(8):
        spr.pp.split(adata, holdout="perturbations", fraction=0.4, validation_fraction=0.3, seed=seed)
        assert parts(adata)["test"] | parts(adata)["validation"] <= set("ABCDEF")
    line = next(each for each in said if "not drawn" in each)
    assert line.startswith("4 of 10 are not drawn")
    assert "'P', 'Q', 'R' and 1 more" in line
    assert "no measured gene has that name. Pass `embeddings`" in line


def test_a_row_in_embeddings_makes_a_drug_predictable():
    adata = make({"control": 5, **dict.fromkeys("PQRS", 5)}, genes="ABCDEF")
    with pytest.raises(ValueError, match="No condition of `holdout='perturbations'` could be predicted"):
        spr.pp.split(adata, holdout="perturbations")
    embeddings = pd.DataFrame({"x": [0.0, 1.0]}, index=["P", "Q"])
    spr.pp.split(adata, holdout="perturbations", fraction=0.5, embeddings=embeddings)
    assert parts(adata)["test"] < {"P", "Q"}
    folds = spr.pp.split_folds(adata, holdout="perturbations", k=2, embeddings=embeddings)
    assert sorted(fold.test for fold in folds) == [("P",), ("Q",)]


def test_ensembl_ids_are_recognised():
    frame = pd.DataFrame({"perturbation": ["control", "A", "B"] * 2}, index=list("abcdef"))
    var = pd.DataFrame(index=["ENSG00000000003", "ENSG00000000005"])
    adata = AnnData(np.full((6, 2), 0.5, dtype=np.float32), obs=frame, var=var)
    spr.pp.setup_anndata(adata)
    with pytest.raises(ValueError, match="are Ensembl ids"):
        spr.pp.split(adata, holdout="perturbations")


def test_what_is_asked_for_and_cannot_be_predicted_is_warned_about():
    adata = make({"control": 5, **dict.fromkeys("ABPQ", 5)}, genes="ABCD")
    with pytest.warns(UserWarning, match="1 held-out conditions cannot be predicted.*'P'"):
        spr.pp.split(adata, holdout="perturbations", values=["P"])


def test_contexts_are_not_drawn_together_when_one_rests_on_the_other():
    # P is trained on in T and B only, and is no gene
    cells = contexts({"T": 5, "B": 5, "NK": 5}) | {("P", "T"): 5, ("P", "B"): 5}
    for seed in range(6):
        adata = make(cells, covariates=["cell_type"])
        spr.pp.split(adata, holdout="cell_type", fraction=0.67, validation_fraction=0, seed=seed)
        assert {"P | cell_type=T", "P | cell_type=B"} & parts(adata)["train"]


def test_nothing_is_held_out_by_its_own_word():
    adata = make({"control": 5, **dict.fromkeys("ABCDEF", 5)})
    spr.pp.split(adata, holdout="nothing")
    assert set(adata.obs["split"]) == {"train"}
    assert adata.uns["scperturbrl"]["split"]["holdout"] == "nothing"
    spr.pp.split(adata, holdout="nothing", validation_fraction=0.2)
    assert set(adata.obs["split"]) == {"train", "validation"}


def crossed():
    cells = {(label, t, d): 4 for label in ["control", *"AB"] for t in ("T", "B") for d in ("d1", "d2", "d3")}
    return make(cells, covariates=["cell_type", "donor"])


def test_pairs_of_covariates_are_held_out():
    adata = crossed()
    spr.pp.split(adata, holdout=["cell_type", "donor"], values=[("T", "d2")], validation_fraction=0.2)
    found = parts(adata)
    assert found["test"] == {f"{label} | cell_type=T | donor=d2" for label in "AB"}
    assert len({name.split(" | ", 1)[1] for name in found["validation"]}) == 1
    spr.pp.split(adata, holdout=["cell_type", "donor"], fraction=0.34)
    assert len({name.split(" | ", 1)[1] for name in parts(adata)["test"]}) == 2


@pytest.mark.parametrize(
    ("holdout", "message"),
    [
        (["cell_type", "combinations"], "names 'combinations'. A list needs at least two of the declared covariates"),
        (["cell_type"], "names fewer than two"),
    ],
)
def test_lists_that_make_no_sense_are_refused_by_name(holdout, message):
    with pytest.raises(ValueError, match=message):
        spr.pp.split(crossed(), holdout=holdout)


def test_a_pair_without_cells_is_refused_by_name():
    with pytest.raises(KeyError, match=r"'T \| d9' cannot be held out"):
        spr.pp.split(crossed(), holdout=["cell_type", "donor"], values=[("T", "d9")])


def test_fitting_and_post_training_work_without_validation_conditions(toy):
    spr.pp.split(toy, validation_fraction=0)
    spr.pp.reference(toy)
    spr.tl.fit_generator(toy, n_steps=10, width=16, n_latent=6)
    spr.tl.rl_finetune(toy, n_iterations=1, n_conditions=2, group_size=4, reward_steps=1, energy_steps=1)
    assert toy.uns["generator"]["history"]["validation_energy"].isna().all()
    assert "generator_rl" in toy.uns
