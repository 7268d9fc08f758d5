from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr


def test_agrees_with_the_slots(adata):
    frame = spr.get.verifier_scores(adata, key="generator")
    found = frame.groupby(["origin", "group", "verifier"], observed=True)["score"].median()
    for origin, slot in (("generated", "score_generator"), ("observed", "score_observed")):
        expected = adata.obsm[slot].groupby(adata.obs["perturbation"], observed=True).median()
        for (_, group, verifier), value in found.loc[[origin]].items():
            np.testing.assert_allclose(value, expected.loc[group, verifier], equal_nan=True)


def test_one_row_a_cell_verifier_and_origin(adata):
    frame = spr.get.verifier_scores(adata)
    assert len(frame) == 210 * 4 * 2
    assert not frame.duplicated(["cell", "origin", "verifier"]).any()


def test_control_cells_only_when_asked_for(adata):
    assert "control" not in set(spr.get.verifier_scores(adata)["group"])
    assert set(spr.get.verifier_scores(adata, perturbations="control")["group"]) == {"control"}


def test_order_is_that_asked_for(adata):
    wanted = adata.obs["perturbation"].cat.categories[[3, 1]].tolist()
    frame = spr.get.verifier_scores(adata, perturbations=wanted, verifiers=["rmse_topk", "pearson_topk"])
    assert frame["group"].cat.categories.tolist() == wanted
    assert frame["verifier"].cat.categories.tolist() == ["rmse_topk", "pearson_topk"]


def test_grouping_by_another_column(adata):
    adata.obs["plate"] = np.where(np.arange(adata.n_obs) % 2, "two", "one")
    frame = spr.get.verifier_scores(adata, groupby="plate", verifiers="rmse_topk")
    assert frame["group"].cat.categories.tolist() == ["one", "two"]
    cells = frame.loc[(frame["group"] == "two") & (frame["origin"] == "generated"), "cell"]
    assert set(cells) == set(adata.obs_names[(adata.obs["plate"] == "two") & (adata.obs["perturbation"] != "control")])


def test_conditions_are_the_groups(adata):
    adata.obs["cell_type"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "T", "B"))
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    frame = spr.get.verifier_scores(adata, perturbations=["GENE016", "GENE014"], verifiers="rmse_topk")
    expected = [f"{gene} | cell_type={kind}" for gene in ("GENE016", "GENE014") for kind in "BT"]
    assert frame["group"].cat.categories.tolist() == expected
    cells = frame.loc[(frame["group"] == "GENE014 | cell_type=T") & (frame["origin"] == "generated"), "cell"]
    chosen = (adata.obs["perturbation"] == "GENE014") & (adata.obs["cell_type"] == "T")
    assert cells.tolist() == adata.obs_names[chosen].tolist()


def test_observed_alone(adata):
    frame = spr.get.verifier_scores(adata, key="observed")
    assert set(frame["origin"]) == {"observed"}
    assert len(frame) == 210 * 4


def test_without_observed_scores(adata):
    del adata.obsm["score_observed"]
    assert set(spr.get.verifier_scores(adata)["origin"]) == {"generated"}


def test_verifier_that_real_cells_were_not_scored_with(adata):
    adata.obsm["score_generator"]["mine"] = 0.5
    frame = spr.get.verifier_scores(adata, key="generator", verifiers="mine")
    mean = frame.groupby("origin")["score"].mean()
    assert mean["generated"] == 0.5
    assert np.isnan(mean["observed"])


def test_does_not_change_the_object(adata):
    before = adata.copy()
    spr.get.verifier_scores(adata)
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert set(adata.uns) == set(before.uns)


def test_missing_scores_name_the_verb(bare):
    with pytest.raises(KeyError, match=r"tl\.score\(adata, layer='generator'\)"):
        spr.get.verifier_scores(bare)
    with pytest.raises(KeyError, match=r"tl\.score\(adata\)"):
        spr.get.verifier_scores(bare, key="observed")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"verifiers": "rmse_topp"}, ValueError, "rmse_topk"),
        ({"perturbations": ["GENE999"]}, ValueError, "no cells of 'GENE999'"),
        ({"groupby": "plate"}, KeyError, "no column 'plate'"),
    ],
)
def test_unknown_names_are_refused(adata, options, error, match):
    with pytest.raises(error, match=match):
        spr.get.verifier_scores(adata, **options)
