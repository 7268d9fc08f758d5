from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr


def test_means_of_every_condition(adata):
    frame = spr.get.reward_shift(adata).set_index("condition")
    grouped = adata.obs.groupby("perturbation", observed=True)
    for column, source in (("before", "generator"), ("after", "generator_rl"), ("observed", "observed")):
        expected = grouped[f"{source}_reward"].mean().drop("control")
        np.testing.assert_allclose(frame[column], expected[frame.index])
    np.testing.assert_allclose(frame["shift"], frame["after"] - frame["before"])
    assert frame["n_cells"].sum() == (adata.obs["perturbation"] != "control").sum()


def test_unseen_conditions_have_no_reward_but_a_row(adata):
    frame = spr.get.reward_shift(adata)
    assert (frame["seen"] == (frame["split"] == "train")).all()
    assert not frame["seen"].all()
    assert frame.loc[~frame["seen"], "shift"].isna().all()
    assert frame.loc[frame["seen"], "shift"].notna().all()


def test_scores_against_observed_cells_reach_the_unseen(adata):
    for key in ("generator", "generator_rl"):
        spr.tl.score(adata, layer=key, reference="observed", key_added=f"{key}_seen")
    frame = spr.get.reward_shift(adata, before="generator_seen", after="generator_rl_seen")
    assert frame.loc[~frame["seen"], "shift"].notna().any()
    assert np.isfinite(
        spr.get.reward_shift(adata, before="generator_seen", after="generator_rl_seen", verifier="rmse_topk")["shift"]
    ).all()


def test_one_verifier(adata):
    frame = spr.get.reward_shift(adata, verifier="rmse_topk").set_index("condition")
    rows = (adata.obs["perturbation"] == "GENE014").to_numpy()
    expected = adata.obsm["score_generator_rl"].loc[rows, "rmse_topk"].mean()
    assert frame.loc["GENE014", "after"] == pytest.approx(expected, rel=1e-6)


def test_without_scores_of_real_cells(adata):
    del adata.obsm["score_observed"]
    assert spr.get.reward_shift(adata)["observed"].isna().all()


def test_errors_name_the_verb_and_the_verifier(adata):
    with pytest.raises(KeyError, match=r"tl\.score\(adata, layer='mine'\)"):
        spr.get.reward_shift(adata, after="mine")
    with pytest.raises(KeyError, match="no verifier 'rmse_top'.*'rmse_topk'"):
        spr.get.reward_shift(adata, verifier="rmse_top")
