from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scperturbrl as spr
from scperturbrl import verifiers


def masks(adata):
    control = (adata.obs["perturbation"] == "control").to_numpy()
    return control, ~control & (adata.obs["split"] == "train").to_numpy(), (adata.obs["split"] == "test").to_numpy()


def test_slots_are_as_documented(toy):
    before = toy.copy()
    assert spr.tl.score(toy) is None
    table = toy.obsm["score_observed"]
    assert list(table.columns) == list(verifiers.DEFAULT)
    assert list(table.index) == list(toy.obs_names)
    assert set(toy.obs) - set(before.obs) == {"observed_reward"}
    assert set(toy.uns) - set(before.uns) == {"score_observed"}
    assert (toy.X != before.X).nnz == 0
    record = toy.uns["score_observed"]
    assert record["reference"] == "training"
    assert not record["uses_held_out_cells"]
    assert list(record["verifiers"]) == list(verifiers.DEFAULT)


def test_what_has_no_reference_is_nan_and_named(toy):
    spr.tl.score(toy)
    control, train, _ = masks(toy)
    assert toy.obsm["score_observed"][~train].isna().all().all()
    assert toy.obs["observed_reward"][~train].isna().all()
    finite = toy.obsm["score_observed"][train].notna()
    assert finite[["pearson_topk", "rmse_topk", "de_spearman"]].all().all()
    expected = set(toy.obs["perturbation"][~train & ~control])
    assert set(toy.uns["score_observed"]["not_scored"]) == expected


def test_observed_references_judge_every_condition_and_say_so(toy):
    spr.tl.score(toy, reference="observed", key_added="all")
    control, *_ = masks(toy)
    assert toy.obsm["score_all"].loc[~control, "pearson_topk"].notna().all()
    assert toy.obsm["score_all"][control].isna().all().all()
    record = toy.uns["score_all"]
    assert record["uses_held_out_cells"]
    assert len(record["not_scored"]) == 0


def test_the_reward_is_that_of_the_calibration(screen):
    spr.tl.score(screen)
    train = masks(screen)[1]
    frame = screen.uns["scperturbrl"]["reference"]["calibration"].set_index(["condition", "verifier"])
    raw, reward = screen.obsm["score_observed"], screen.obs["observed_reward"]
    for cell in np.flatnonzero(train)[::37]:
        own = frame.loc[screen.obs["perturbation"].iloc[cell]].loc[list(raw.columns)]
        gap = own["real_median"] - own["control_median"]
        position = ((raw.iloc[cell] - own["control_median"]) / gap).clip(-1, 1)
        expected = np.average(position[own["weight"] > 0], weights=own["weight"][own["weight"] > 0])
        assert reward.iloc[cell] == pytest.approx(expected, abs=1e-4)
    medians = raw[train].groupby(screen.obs["perturbation"][train].astype(str)).median()
    stored = frame["real_median"].unstack().loc[medians.index, medians.columns]
    np.testing.assert_allclose(medians, stored, atol=0.02)


def test_real_cells_are_not_judged_by_references_of_their_own(screen):
    spr.tl.score(screen)
    screen.layers["copy"] = screen.X.copy()
    spr.tl.score(screen, layer="copy")
    train = masks(screen)[1]
    # as a foreign layer the same cells meet references that they helped to define
    assert (
        screen.obsm["score_copy"].loc[train, "rmse_topk"].mean()
        > screen.obsm["score_observed"].loc[train, "rmse_topk"].mean()
    )


def test_a_foreign_layer_is_scored_for_the_condition_of_its_row(screen):
    control, train, _ = masks(screen)
    values = screen.X.toarray()
    rng = np.random.default_rng(0)
    values[~control] = values[rng.choice(np.flatnonzero(control), (~control).sum())]
    screen.layers["nothing"] = sparse.csr_matrix(values)
    spr.tl.score(screen, layer="nothing")
    spr.tl.score(screen)
    assert abs(screen.obs.loc[train, "nothing_reward"].median()) < 0.2
    assert screen.obs.loc[train, "observed_reward"].median() > 0.6
    assert screen.uns["score_nothing"]["reference"] == "training"


def test_generated_cells_are_scored_like_any_layer(fitted):
    spr.tl.generate(fitted)
    spr.tl.score(fitted, layer="generator")
    fitted.layers["dense"] = fitted.layers["generator"].toarray()
    spr.tl.score(fitted, layer="dense", key_added="again")
    pd.testing.assert_frame_equal(fitted.obsm["score_generator"], fitted.obsm["score_again"])


def test_observed_references_score_a_layer_too(fitted):
    spr.tl.generate(fitted)
    spr.tl.score(fitted, layer="generator", reference="observed")
    control, *_ = masks(fitted)
    assert fitted.obsm["score_generator"].loc[~control, "de_spearman"].notna().all()


def test_verifiers_and_weights_can_be_chosen(toy):
    chosen = ["rmse_topk", verifiers.pearson_topk(n_genes=10)]
    spr.tl.score(toy, verifiers=chosen, weights={"rmse_topk": 0.0})
    assert list(toy.obsm["score_observed"].columns) == ["rmse_topk", "pearson_topk"]
    alone = toy.copy()
    spr.tl.score(alone, verifiers=chosen[1:])
    np.testing.assert_allclose(toy.obs["observed_reward"], alone.obs["observed_reward"], atol=1e-6)


def test_held_out_cells_do_not_matter(toy):
    spoilt = toy.copy()
    values = spoilt.X.toarray()
    values[masks(toy)[2]] *= 0.3
    spoilt.X = sparse.csr_matrix(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(spoilt)
    for adata in (toy, spoilt):
        spr.tl.score(adata)
    pd.testing.assert_frame_equal(toy.obsm["score_observed"], spoilt.obsm["score_observed"])


def counts_layer(adata):
    return {"layer": "counts"}


def no_reference(adata):
    del adata.uns["scperturbrl"]["reference"]
    return {}


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (counts_layer, ValueError, r"(?s)layers\['counts'\].*raw counts.*log1p"),
        (no_reference, ValueError, r"no reference.*pp\.reference"),
        (lambda adata: {"layer": "generatr"}, KeyError, r"`layers` has no 'generatr'"),
        (lambda adata: {"verifiers": ["pearson"]}, KeyError, r"'pearson'.*'pearson_topk'"),
        (lambda adata: {"reference": "test"}, ValueError, r"`reference` is 'test'.*'training', 'observed'"),
        (lambda adata: {"weights": {"pearson": 2.0}}, KeyError, r"`weights` names \['pearson'\].*'pearson_topk'"),
        (lambda adata: {"weights": {"pearson_topk": -1.0}}, ValueError, r"weights\['pearson_topk'\].*-1\.0.*negative"),
    ],
)
def test_errors_name_value_and_remedy(toy, prepare, error, message):
    options = prepare(toy)
    with pytest.raises(error, match=message):
        spr.tl.score(toy, **options)
