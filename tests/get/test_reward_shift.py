from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr


def test_means_of_every_condition(adata):
    frame = spr.get.reward_shift(adata).set_index("condition")
    grouped = adata.obs.groupby("perturbation", observed=True)
    for column, source in (("before", "generator"), ("after", "generator_rl"), ("observed", "observed")):
        expected = grouped[f"{source}_reward"].mean().drop("control")[frame.index]
        np.testing.assert_allclose(frame[f"reward_{column}"], expected)
        real = grouped["observed_reward"].mean().drop("control")[frame.index]
        np.testing.assert_allclose(frame[column], (expected / real).where(real >= 0.1))
    np.testing.assert_allclose(frame["shift"], frame["after"] - frame["before"])
    assert frame["n_cells"].sum() == (adata.obs["perturbation"] != "control").sum()


def test_real_cells_are_at_one_and_control_cells_at_zero(adata):
    adata.obs["real_reward"] = adata.obs["observed_reward"]
    adata.obs["none_reward"] = 0.0
    frame = spr.get.reward_shift(adata, before="none", after="real").dropna(subset="shift")
    assert len(frame)
    assert (frame["before"] == 0).all()
    for column in ("after", "observed", "shift"):
        np.testing.assert_allclose(frame[column], 1)


def test_real_cells_like_control_cells_are_no_scale(adata):
    adata.obs.loc[adata.obs["perturbation"] == "GENE014", "observed_reward"] = 0.05
    frame = spr.get.reward_shift(adata).set_index("condition")
    assert frame.loc["GENE014", ["before", "after", "shift", "observed"]].isna().all()
    assert frame.loc["GENE014", "reward_observed"] == pytest.approx(0.05)


def test_unseen_conditions_have_no_reward_but_a_row(adata):
    frame = spr.get.reward_shift(adata)
    assert (frame["seen"] == (frame["split"] == "train")).all()
    assert not frame["seen"].all()
    assert frame.loc[~frame["seen"], "shift"].isna().all()
    assert frame.loc[frame["seen"], "shift"].notna().all()


def test_scores_against_observed_cells_reach_the_unseen(adata):
    for key in ("generator", "generator_rl"):
        spr.tl.score(adata, layer=key, reference="observed", key_added=f"{key}_seen")
    spr.tl.score(adata, reference="observed")
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
    frame = spr.get.reward_shift(adata)
    assert frame[["before", "after", "observed", "reward_observed"]].isna().all(axis=None)
    assert frame["reward_after"].notna().any()
    assert spr.get.reward_shift(adata, verifier="rmse_topk")["after"].notna().any()


def test_errors_name_the_verb_and_the_verifier(adata):
    with pytest.raises(KeyError, match=r"tl\.score\(adata, layer='mine'\)"):
        spr.get.reward_shift(adata, after="mine")
    with pytest.raises(KeyError, match="no verifier 'rmse_top'.*'rmse_topk'"):
        spr.get.reward_shift(adata, verifier="rmse_top")
