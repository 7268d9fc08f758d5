from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scperturbrl as spr

MODELS = {"generator": "generator", "generator_rl": "generator", "theirs": "prediction", "control": "baseline"}


@pytest.fixture
def evaluated(bare):
    rng = np.random.default_rng(0)
    rows = []
    for condition, offset in (("A", 0.0), ("B", 10.0), ("C", -20.0)):
        for model, kind in [*MODELS.items(), ("split_half", "ceiling")]:
            score = rng.normal()
            values = {
                "score_rmse_topk": (score + offset, "rewarded"),
                # falls as the score rises, and is an error: they agree
                "mse": (50 - score - offset, "related"),
                # rises as the score rises, and is an error: the verifier is hacked
                "mmd": (np.exp(score) + offset, "held-out"),
                # equally far from 1 on either side
                "variance_ratio": (1 + rng.choice([-1, 1]) * np.exp(-score), "held-out"),
            }
            for metric, (value, role) in values.items():
                row = {"model": model, "kind": kind, "condition": condition, "metric": metric, "n_cells": 9}
                rows.append({**row, "value": value, "scaled": 0.0, "role": role})
    bare.uns["evaluation"] = pd.DataFrame(rows)
    return bare


def test_agreement_and_hacking_are_told_apart(evaluated):
    frame = spr.get.verifier_correlation(evaluated).set_index("metric")
    assert frame.loc["mse", "correlation"] == pytest.approx(1)
    assert frame.loc["mmd", "correlation"] < -0.8
    assert frame.loc["variance_ratio", "correlation"] > 0.8
    assert frame["n"].unique().tolist() == [9]
    assert frame["role"].to_dict() == {"mse": "related", "mmd": "held-out", "variance_ratio": "held-out"}


def test_it_is_spearman_of_values_relative_to_the_condition(evaluated):
    frame = evaluated.uns["evaluation"]
    frame = frame[frame["model"].isin(["generator", "generator_rl", "theirs"])]
    wide = frame.pivot(index=["condition", "model"], columns="metric", values="value")
    centred = wide - wide.groupby("condition").transform("mean")
    expected = stats.spearmanr(centred["score_rmse_topk"], -centred["mmd"]).statistic
    found = spr.get.verifier_correlation(evaluated, metrics="mmd")
    assert found["correlation"].tolist() == pytest.approx([expected])


def test_models_to_compare(evaluated):
    both = spr.get.verifier_correlation(evaluated, models=["generator", "control"])
    assert both["n"].unique().tolist() == [6]
    frame = evaluated.uns["evaluation"]
    evaluated.uns["evaluation"] = frame[frame["kind"] != "prediction"].replace({"kind": {"generator": "baseline"}})
    assert spr.get.verifier_correlation(evaluated)["n"].unique().tolist() == [9]
    with pytest.raises(ValueError, match=r"Only \['generator'\] to compare"):
        spr.get.verifier_correlation(evaluated, models="generator")


def test_a_metric_that_never_differs_has_no_correlation(evaluated):
    frame = evaluated.uns["evaluation"]
    frame.loc[frame["metric"] == "mse", "value"] = 0.1
    found = spr.get.verifier_correlation(evaluated).set_index("metric")
    assert np.isnan(found.loc["mse", "correlation"])


@pytest.mark.parametrize(("conditions", "known"), [("AB", False), ("ABC", True)])
def test_few_pairs_have_no_correlation(evaluated, conditions, known):
    frame = evaluated.uns["evaluation"]
    evaluated.uns["evaluation"] = frame[frame["condition"].isin(list(conditions))]
    found = spr.get.verifier_correlation(evaluated)
    assert found["n"].unique().tolist() == [3 * len(conditions)]
    assert found["correlation"].notna().tolist() == [known] * len(found)


def test_real_table(adata):
    frame = spr.get.verifier_correlation(adata)
    assert frame["verifier"].unique().tolist() == list(spr.verifiers.DEFAULT)
    assert frame["correlation"].dropna().between(-1, 1).all()
    assert not frame["metric"].str.startswith("score_").any()


def test_errors(evaluated, bare):
    with pytest.raises(ValueError, match="`verifiers` names 'rmse'"):
        spr.get.verifier_correlation(evaluated, verifiers="rmse")
    del bare.uns["evaluation"]
    with pytest.raises(KeyError, match=r"tl\.evaluate\(adata\)"):
        spr.get.verifier_correlation(bare)
