from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scperturbrl.data.evaluation.metric_calibration import calibrate_metrics, with_calibration


def frame(**values):
    return pd.DataFrame(
        [(f"C{i}", metric, value) for metric, column in values.items() for i, value in enumerate(column)],
        columns=["condition", "metric", "value"],
    )


def found(replicate, mean):
    return calibrate_metrics(frame(**replicate), frame(**mean))


def test_by_hand_in_both_directions():
    table = found(
        {"mse": [0.1, 0.1, 0.1, 0.3], "pearson_delta": [0.9, 0.8, 0.7, 0.1], "variance_ratio": [1.1, 0.9, 1.0, 1.0]},
        {"mse": [0.2, 0.4, 0.5, 0.2], "pearson_delta": [0.5, 0.5, 0.5, 0.5], "variance_ratio": [1.0, 1.0, 1.0, 1.5]},
    )
    assert table["told_apart"].to_dict() == {"mse": 0.75, "pearson_delta": 0.75, "variance_ratio": 0.25}
    assert table["calibrated"].to_dict() == {"mse": True, "pearson_delta": True, "variance_ratio": False}
    # 0.5, 0.75, 0.8 and -0.5 of the way from the mean response to no error at all
    assert table.loc["mse", "dynamic_range"] == pytest.approx(np.median([0.5, 0.75, 0.8, -0.5]))
    assert table.loc["pearson_delta", "dynamic_range"] == pytest.approx(np.median([0.8, 0.6, 0.4, -0.8]))


def test_scperteval_gives_the_same():
    theirs = pytest.importorskip("scperteval.calibrators").CALIBRATORS
    metric = pytest.importorskip("types").SimpleNamespace(better="lower", perfect=0.0)
    replicate, mean = np.random.default_rng(0).uniform(0.1, 1, (2, 9))
    table = found({"mse": replicate}, {"mse": mean})
    pairs = [{"positive": a, "negative": b} for a, b in zip(replicate, mean, strict=True)]
    drf = np.median([theirs["drf"].per_pert(pair, metric) for pair in pairs])
    assert table.loc["mse", "dynamic_range"] == pytest.approx(drf, abs=1e-4)
    assert table.loc["mse", "told_apart"] == np.mean([theirs["bds"].per_pert(pair, metric) for pair in pairs])


def test_the_mean_response_knows_nothing_in_systema_metrics():
    table = found({"pearson_delta_systema": [0.4, 0.5]}, {"pearson_delta_systema": [np.nan, np.nan]})
    assert table.loc["pearson_delta_systema"].tolist() == [True, 1.0, 0.45]


def test_scores_have_no_perfect_value():
    table = found({"score_x": [2.0, 3.0]}, {"score_x": [1.0, 1.0]})
    assert table.loc["score_x", "calibrated"]
    assert np.isnan(table.loc["score_x", "dynamic_range"])


def test_conditions_without_a_value_do_not_count():
    table = found({"mse": [0.1, np.nan], "mmd": [np.nan, 0.1]}, {"mse": [0.2, 0.2], "mmd": [0.1, np.nan]})
    assert table.loc["mse", "told_apart"] == 1
    assert not table.loc["mmd", "calibrated"]
    assert np.isnan(table.loc["mmd", "told_apart"])


def test_columns_go_to_every_row_of_the_metric():
    table = pd.DataFrame({"model": ["a", "b", "a"], "metric": ["mse", "mse", "l2"]})
    full = with_calibration(table, found({"mse": [0.1]}, {"mse": [0.4]}))
    assert full["calibrated"].tolist() == [True, True, False]
    assert full["calibrated"].dtype == bool
    assert full["dynamic_range"].tolist()[:2] == pytest.approx([0.75, 0.75])
    assert np.isnan(full["told_apart"].iloc[2])
