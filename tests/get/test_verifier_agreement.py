from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scperturbrl as spr

MODELS = ["generator", "generator_rl", "additive"]


def test_values_are_those_of_the_evaluation(adata):
    frame = spr.get.verifier_agreement(adata, verifier="de_spearman", metric="mse", models=MODELS)
    table = adata.uns["evaluation"].astype({"model": str, "condition": str, "metric": str})
    wide = table.pivot_table(index=["condition", "model"], columns="metric", values="value", observed=True)
    expected = wide.loc[list(zip(frame["condition"], frame["model"], strict=True))]
    np.testing.assert_allclose(frame["score"], expected["score_de_spearman"])
    np.testing.assert_allclose(frame["value"], expected["mse"])
    for _, part in frame.groupby("condition"):
        assert part["model"].tolist() == [name for name in MODELS if name in set(part["model"])]


def test_relative_values_are_those_that_are_correlated(adata):
    options = {"models": [*MODELS, "control", "perturbed_mean", "matching_mean", "nearest_condition", "additive_ridge"]}
    frame = spr.get.verifier_agreement(adata, verifier="rmse_topk", metric="variance_ratio", **options)
    expected = spr.get.verifier_correlation(adata, verifiers="rmse_topk", metrics="variance_ratio", **options)
    found = stats.spearmanr(frame["relative_score"], frame["relative_goodness"]).statistic
    assert found == pytest.approx(expected["correlation"].item())
    np.testing.assert_allclose(frame.groupby("condition")["relative_score"].sum(), 0, atol=1e-9)


def test_pairs_without_a_value_are_left_out(bare):
    rows = [
        {"model": model, "kind": "generator", "condition": condition, "metric": metric, "value": value, "role": "x"}
        for model in ("a", "b")
        for condition, values in (("B", (1.0, 2.0)), ("A", (3.0, np.nan)))
        for metric, value in zip(("score_mine", "mmd"), values, strict=True)
    ]
    bare.uns["evaluation"] = pd.DataFrame(rows)
    frame = spr.get.verifier_agreement(bare, verifier="mine", metric="mmd")
    assert frame["condition"].tolist() == ["B", "B"]


def test_errors(adata, bare):
    with pytest.raises(ValueError, match="`verifier` names 'rmse'"):
        spr.get.verifier_agreement(adata, verifier="rmse", metric="mse")
    with pytest.raises(ValueError, match="`metric` names 'msee'"):
        spr.get.verifier_agreement(adata, verifier="rmse_topk", metric="msee")
    with pytest.raises(KeyError, match=r"tl\.evaluate\(adata\)"):
        spr.get.verifier_agreement(bare, verifier="rmse_topk", metric="mse")
