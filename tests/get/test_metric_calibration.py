from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl.metrics import METRICS


def test_every_metric_of_the_evaluation_is_told(adata):
    table = spr.get.metric_calibration(adata)
    summary = spr.get.evaluation(adata)
    assert table["metric"].tolist() == summary["metric"].drop_duplicates().tolist()
    assert set(METRICS) <= set(table["metric"])
    told = table["told_apart"].dropna()
    assert ((told >= 0) & (told <= 1)).all()
    assert (table["calibrated"] == (table["told_apart"] >= 0.75)).all()
    assert table["dynamic_range"].dropna().between(-1, 1).all()
    assert set(np.unique(summary["calibrated"])) <= {True, False}


def test_a_metric_that_cannot_tell_gets_no_verdict(adata):
    table = adata.uns["evaluation"]
    models = {"model": "generator", "reference": "control"}
    table["calibrated"] = table["metric"].astype(str) != "mse"
    verdict = spr.get.differences(table, models["model"], reference=models["reference"]).set_index("metric")["verdict"]
    assert verdict["mse"] in ("uncalibrated", "")
    assert "uncalibrated" not in verdict.drop("mse").tolist()
    assert (verdict["mse"] == "uncalibrated") == (table["condition"].nunique() > 1)


def test_it_asks_for_what_is_missing(adata, bare):
    with pytest.raises(KeyError, match="tl.evaluate"):
        spr.get.metric_calibration(bare)
    adata.uns["evaluation"] = adata.uns["evaluation"].drop(columns="told_apart")
    with pytest.raises(KeyError, match="again"):
        spr.get.metric_calibration(adata)
