from __future__ import annotations

import warnings

import anndata as ad
import pytest

import scperturbrl as spr
from scperturbrl._core.provenance import same_split

SMALL = {"n_steps": 5, "width": 16, "n_latent": 6}
POST = {"n_iterations": 1, "n_conditions": 2, "group_size": 4, "reward_steps": 1, "energy_steps": 1}
BRIEF = {"verifiers": ["rmse_topk"], "n_cells": 20, "max_cells": 20}


@pytest.fixture(scope="module")
def two_splits(ready_toy):
    """A generator, its layer and their scores under one split, and another split now, which tests what it was trained on."""
    adata = ready_toy.copy()
    trained = [str(name) for name in adata.uns["scperturbrl"]["split"]["train"] if "+" in str(name)]
    spr.tl.fit_generator(adata, **SMALL)
    spr.tl.generate(adata)
    spr.tl.score(adata, layer="generator")
    spr.tl.score(adata)
    adata.obs["first"] = adata.obs["split"].astype(str)
    spr.pp.split(adata, values=trained[:1], validation_fraction=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
    return adata, trained[0]


@pytest.fixture
def adata(two_splits):
    return two_splits[0].copy()


@pytest.fixture
def tested(two_splits):
    return two_splits[1]


def test_a_generator_of_another_split_is_not_evaluated_on_what_it_saw(adata, tested):
    with pytest.raises(
        ValueError, match=rf"'generator' was fitted under another split and has seen 1 .*{tested.replace('+', '.')}"
    ):
        spr.tl.evaluate(adata, keys=["generator"], **BRIEF)
    with pytest.warns(UserWarning, match="has seen 1 of the test conditions.* It is left out"):
        table = spr.tl.evaluate(adata, **BRIEF)
    assert "generator" not in set(table["model"])
    assert not table["seen"].any()
    assert set(table["split_hash"]) == {adata.uns["scperturbrl"]["split"]["hash"]}


def test_a_cross_validation_loop_with_generators_of_their_own_works(adata, tested):
    spr.tl.fit_generator(adata, key_added="second", **SMALL)
    table = spr.tl.evaluate(adata, keys=["second"], **BRIEF)
    assert not table.loc[table["model"] == "second", "seen"].any()


def test_named_training_conditions_are_evaluated_and_marked(adata):
    spr.tl.fit_generator(adata, key_added="second", **SMALL)
    trained = str(adata.uns["scperturbrl"]["split"]["train"][1])
    table = spr.tl.evaluate(adata, keys=["second"], conditions=[trained], **BRIEF)
    assert table["seen"].all()


@pytest.mark.parametrize(
    "call",
    [
        lambda adata: spr.tl.rl_finetune(adata, **POST),
        lambda adata: spr.tl.fit_generator(adata, init_from="generator", key_added="longer", **SMALL),
    ],
)
def test_training_under_two_splits_is_refused(adata, tested, call):
    with pytest.raises(
        ValueError, match=r"'generator' was fitted under another split: .*train, now test.*go back to its own"
    ):
        call(adata)
    assert "generator_rl" not in adata.uns
    assert "longer" not in adata.uns


def test_going_back_to_its_split_makes_it_usable_again(adata):
    spr.pp.split(adata, holdout="column", column="first")
    spr.pp.reference(adata)
    spr.tl.rl_finetune(adata, **POST)
    assert not spr.tl.evaluate(adata, **BRIEF)["seen"].any()


@pytest.mark.parametrize(
    "call", [spr.tl.generate, lambda adata: spr.tl.predict(adata, n_cells=3)], ids=["generate", "predict"]
)
def test_generating_what_was_seen_is_warned_about(adata, call):
    with pytest.warns(UserWarning, match="not predictions of held-out conditions"):
        call(adata)


def test_predicted_cells_remember_what_their_generator_saw(adata, tested):
    with pytest.warns(UserWarning, match="not predictions of held-out conditions"):
        made = spr.tl.predict(adata, n_cells=20)
    assert made.uns["prediction"]["conditions"]["seen"].tolist() == [True]
    with pytest.raises(ValueError, match=r"`predictions\['mine'\]` was made by a generator that has seen 1"):
        spr.tl.evaluate(adata, keys=[], predictions={"mine": made}, **BRIEF)
    never = next(gene for gene in adata.var_names if gene not in tested)
    assert not spr.tl.predict(adata, [f"{tested}+{never}"], n_cells=2).uns["prediction"]["conditions"]["seen"].any()


def test_a_layer_of_another_split_is_not_evaluated(adata):
    with pytest.raises(ValueError, match=r"`layers\['generator'\]` was made under another split"):
        spr.tl.evaluate(adata, keys=[], layers=["generator"], **BRIEF)


def test_scoring_a_layer_of_another_split_is_warned_about(adata):
    with pytest.warns(UserWarning, match=r"`layers\['generator'\]` was made under another split.*generate again"):
        spr.tl.score(adata, layer="generator")


def test_a_generator_of_another_split_must_be_fitted_again_first(adata):
    remedy = r"Fit 'generator' again under the present split, then generate"
    with pytest.warns(UserWarning, match=remedy):
        spr.tl.score(adata, layer="generator")
    with pytest.raises(ValueError, match=remedy):
        spr.tl.evaluate(adata, keys=[], layers=["generator"], **BRIEF)
    spr.tl.fit_generator(adata, **SMALL)
    with pytest.warns(UserWarning, match=r"under another split.*\. Generate again\."):
        spr.tl.score(adata, layer="generator")


def test_selecting_by_scores_of_another_split_is_refused(adata):
    with pytest.raises(ValueError, match="scores 'generator' .* made under another split.*score them again"):
        spr.tl.select(adata, key="generator")


@pytest.mark.parametrize(
    "call",
    [
        lambda adata: spr.get.verifier_scores(adata, key="generator"),
        lambda adata: spr.get.reward_shift(adata, before="observed", after="generator"),
        lambda adata: spr.get.effects(adata, keys="generator"),
        lambda adata: spr.get.calibration(adata, key="generator"),
        lambda adata: spr.get.pathway_activity(adata, keys="generator"),
        lambda adata: spr.get.embedding(adata, key="generator", color="split"),
        lambda adata: spr.pl.verifier_scores(adata, key="generator", show=False),
        lambda adata: spr.pl.effects(adata, key="generator", show=False),
        lambda adata: spr.pl.embedding(adata, key="generator", color="split", show=False),
    ],
)
def test_tables_and_plots_of_another_split_are_warned_about(adata, call):
    with pytest.warns(UserWarning, match="made under another split than `adata` has now"):
        call(adata)


def test_a_reference_of_another_split_is_refused(adata):
    adata.uns["scperturbrl"]["reference"]["split_hash"] = "0" * 16
    with pytest.raises(ValueError, match="The reference was made under another split.*pp.reference"):
        spr.tl.score(adata)


def test_a_split_that_was_changed_by_hand_is_noticed(adata, tested):
    trained = str(adata.uns["scperturbrl"]["split"]["train"][1])
    labels = adata.obs["split"].astype(str)
    adata.obs["split"] = labels.mask(adata.obs["perturbation"].astype(str) == trained, "test")
    with pytest.raises(
        ValueError,
        match=rf"`obs\['split'\]` is 'test' for a cell of '{trained.replace('+', '.')}'.*`pp.split` made 'train'",
    ):
        spr.tl.score(adata)


def test_all_of_it_survives_a_file(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match="has seen 1"):
        spr.tl.evaluate(back, keys=["generator"], **BRIEF)
    with pytest.raises(ValueError, match="made under another split"):
        spr.tl.select(back, key="generator")


@pytest.mark.parametrize(
    ("made_under", "now", "wrong"),
    [
        ({"a": "1", "b": "1"}, "1", ""),
        ({"a": "", "b": "1"}, "", ""),
        ({"a": "2", "b": "1"}, "", "a and b were made under different splits"),
        ({"a": "2", "b": "1"}, "1", "a was made under another split than `adata` has now"),
        ({"a": ""}, "1", ""),
    ],
)
def test_which_splits_go_together(made_under, now, wrong):
    assert same_split(made_under, now) == wrong
