from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr

REAL = [0.6, 0.8, 0.7, 0.6]


def screen(values, metric="score_pearson_topk"):
    adata = spr.datasets.toy()
    rows = [(model, f"C{i}", value) for model, column in values.items() for i, value in enumerate(column)]
    table = pd.DataFrame(rows, columns=["model", "condition", "value"])
    adata.uns["evaluation"] = table.assign(metric=metric, kind="generator", role="rewarded")
    return adata


def row(values, metric="score_pearson_topk", **options):
    return spr.get.gap_closed(screen(values, metric), "tuned", reference="parent", **options).iloc[0]


def test_the_share_is_that_of_the_mean_gap():
    found = row({"parent": [0.2, 0.4, 0.5, 0.4], "tuned": [0.3, 0.6, 0.5, 0.4], "split_half": REAL})
    # rises of .3 in sum over gaps of 1.2
    assert found["value"] == pytest.approx(0.25)
    assert found["kind"] == "gap closed"
    assert (found["harm_rate"], found["n_conditions"]) == (0, 4)
    assert found["low"] <= 0.25 <= found["high"]


def test_the_interval_is_a_bootstrap_of_the_ratio_over_conditions():
    rng = np.random.default_rng(0)
    gap = rng.uniform(0.1, 0.3, 40)
    rise = 0.4 * gap + rng.normal(0, 0.03, 40)
    parent = rng.uniform(0.2, 0.3, 40)
    found = row({"parent": parent, "tuned": parent + rise, "split_half": parent + gap})
    # the delta method is an independent way to the same error
    error = np.std(rise - found["value"] * gap, ddof=1) / np.sqrt(40) / gap.mean()
    assert found["low"] == pytest.approx(found["value"] - 1.96 * error, abs=0.3 * error)
    assert found["high"] == pytest.approx(found["value"] + 1.96 * error, abs=0.3 * error)
    wider = row({"parent": parent, "tuned": parent + rise, "split_half": parent + gap}, confidence=0.99)
    assert wider["low"] < found["low"]


def test_without_a_gap_there_is_no_share():
    found = row({"parent": [0.9, 0.9], "tuned": [0.95, 0.95], "split_half": [0.6, 0.8]})
    assert np.isnan(found["value"])
    # the parent was above real cells before
    assert found["harm_rate"] == 0


def test_passing_real_cells_is_counted():
    found = row({"parent": [0.5, 0.5, 0.5, 0.5], "tuned": [0.605, 0.82, 0.6, 0.615], "split_half": REAL})
    assert found["harm_rate"] == 0.5


def test_distances_are_ratios_and_share_the_harm_of_get_harm():
    values = {"parent": [1.0, 2.0, 1.0], "tuned": [0.5, 2.2, 1.02], "split_half": [0.1, 0.1, 0.1]}
    found = row(values, metric="energy_distance")
    assert found["kind"] == "ratio"
    assert found["value"] == pytest.approx(3.72 / 4)
    harmed = spr.get.harm(screen(values, "energy_distance"), "tuned", reference="parent", metrics="energy_distance")
    assert found["harm_rate"] == harmed["harm_rate"].iloc[0] == pytest.approx(1 / 3)


def test_conditions_without_a_value_are_left_out():
    found = row({"parent": [0.2, 0.2, np.nan], "tuned": [0.3, np.nan, 0.3], "split_half": [0.4, 0.4, 0.4]})
    assert found["n_conditions"] == 1
    assert found["value"] == pytest.approx(0.5)
    assert np.isnan(found["low"])


def test_extra_training_is_the_reference_where_it_was_evaluated():
    adata = screen({"generator": [0.2], "longer": [0.3], "tuned": [0.4], "split_half": [0.5]})
    adata.uns["tuned"] = {"params": {"parent": "generator", "method": "rl_finetune"}}
    assert spr.get.gap_closed(adata, "tuned")["reference"].tolist() == ["generator"]
    adata.uns["longer"] = {"params": {"parent": "generator", "method": "fit_generator"}}
    found = spr.get.gap_closed(adata, "tuned").iloc[0]
    assert (found["reference"], found["value"]) == ("longer", pytest.approx(0.5))


def test_scores_come_before_distances(adata):
    found = spr.get.gap_closed(adata, "generator_rl")
    assert found["kind"].drop_duplicates().tolist() == ["gap closed", "ratio"]
    assert {"energy_distance", "mmd"} <= set(found["metric"])


def test_errors_name_the_model():
    with pytest.raises(ValueError, match="'other'"):
        spr.get.gap_closed(screen({"parent": [1.0]}), "other", reference="parent")
    with pytest.raises(ValueError, match="has no parent"):
        spr.get.gap_closed(screen({"tuned": [1.0]}), "tuned")


def test_extra_training_is_not_compared_with_itself():
    adata = screen({"generator": [0.2] * 4, "generator_longer": [0.3] * 4, "split_half": [0.6] * 4})
    adata.uns["generator"] = {"params": {"method": "fit_generator", "parent": ""}}
    adata.uns["generator_longer"] = {"params": {"method": "fit_generator", "parent": "generator"}}
    # a table of the user's, of the same name as a model
    adata.uns["split_half"] = {"colors": "red"}
    found = spr.get.gap_closed(adata, "generator_longer")
    assert set(found["reference"]) == {"generator"}
    assert found["value"].iloc[0] == pytest.approx(0.25)
