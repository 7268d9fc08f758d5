from __future__ import annotations

import pandas as pd
import pytest

import scperturbrl as spr


def table(*pairs):
    row = {"model": "g", "kind": "generator", "condition": "A", "value": 1.0, "scaled": 0.0}
    return pd.DataFrame([{**row, "metric": metric, "role": role} for metric, role in pairs])


def rewarded(*verifiers, **params):
    return {"params": {"method": "rl_finetune", "verifiers": dict.fromkeys(verifiers), "energy_steps": 0, **params}}


def test_a_rewarded_metric_is_never_returned(adata):
    found = spr.get.held_out(adata)
    assert set(found["role"]) == {"held-out"}
    everything = spr.get.evaluation(adata)
    assert set(found["metric"]) == set(everything.loc[everything["role"] == "held-out", "metric"])
    assert not set(found["metric"]) & {"energy_distance", "score_pearson_topk", "mse"}


def test_a_label_that_says_otherwise_does_not_help(bare):
    bare.uns["evaluation"] = table(
        ("score_pearson_topk", "held-out"), ("pearson_delta", "held-out"), ("mmd", "held-out")
    )
    bare.uns["g"] = rewarded("pearson_topk")
    assert spr.get.held_out(bare)["metric"].tolist() == ["mmd"]


def test_a_metric_rewarded_in_some_rows_is_out_everywhere(bare):
    bare.uns["evaluation"] = table(("mse", "held-out"), ("mse", "rewarded"), ("mmd", "held-out"))
    assert spr.get.held_out(bare)["metric"].tolist() == ["mmd"]


def test_nothing_held_out_is_said(bare):
    bare.uns["evaluation"] = table(("mse", "related"))
    with pytest.raises(ValueError, match="No metric of the evaluation is held out"):
        spr.get.held_out(bare)


def test_missing_evaluation_names_the_verb(bare):
    with pytest.raises(KeyError, match=r"tl\.evaluate\(adata\)"):
        spr.get.held_out(bare)
