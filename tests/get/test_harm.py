from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr


def screen(errors, metric="mse"):
    adata = spr.datasets.toy()
    rows = [(model, f"C{i}", value) for model, column in errors.items() for i, value in enumerate(column)]
    table = pd.DataFrame(rows, columns=["model", "condition", "value"])
    adata.uns["evaluation"] = table.assign(metric=metric, kind="generator", role="held-out")
    return adata


def harm(errors, metric="mse", **options):
    return spr.get.harm(screen(errors, metric), "tuned", reference="parent", metrics=metric, **options).iloc[0]


def test_conditions_are_counted_by_hand():
    row = harm({"parent": [1.0, 1.0, 2.0, 1.0], "tuned": [0.5, 1.02, 2.2, 1.5]})
    assert (row["harm_rate"], row["n_harmed"], row["n_conditions"]) == (0.5, 2, 4)
    assert (row["worst_condition"], row["worst_rise"]) == ("C3", 0.5)
    assert harm({"parent": [1.0], "tuned": [1.02]}, margin=0.01)["n_harmed"] == 1


def test_below_the_replicate_differences_are_noise():
    errors = {"parent": [0.1, -0.001, 0.1], "tuned": [0.2, 0.01, np.nan]}
    assert harm(errors)["n_harmed"] == 2
    assert harm(errors)["n_conditions"] == 2
    row = harm(errors | {"split_half": [0.3, 0.005, 0.1]})
    assert (row["n_harmed"], row["worst_condition"]) == (1, "C1")


def test_the_direction_is_that_of_the_metric():
    row = harm({"parent": [0.5, 0.5], "tuned": [0.9, 0.4]}, metric="pearson_delta")
    assert (row["n_harmed"], row["worst_condition"]) == (1, "C1")


def test_nothing_harmed_and_nothing_measured():
    row = harm({"parent": [1.0], "tuned": [0.5]})
    assert (row["harm_rate"], row["worst_condition"]) == (0.0, "")
    assert np.isnan(row["worst_rise"])
    assert np.isnan(harm({"parent": [np.nan, 1.0], "tuned": [1.0, np.nan]})["harm_rate"])


def test_a_model_is_not_compared_with_itself():
    adata = screen({"parent": [1.0], "tuned": [0.5]})
    for compare in (spr.get.harm, spr.get.gap_closed):
        with pytest.raises(ValueError, match="`reference` is 'tuned', the model itself. Name another model"):
            compare(adata, "tuned", reference="tuned")


def test_the_parent_is_found(adata):
    found = spr.get.harm(adata, "generator_rl")
    assert found["reference"].unique().tolist() == [adata.uns["generator_rl"]["params"]["parent"]]
    assert found["metric"].tolist() == ["energy_distance", "mse"]


def test_errors_name_the_remedy(bare):
    adata = screen({"parent": [1.0], "tuned": [1.0]})
    with pytest.raises(ValueError, match="has no parent"):
        spr.get.harm(adata, "tuned", metrics="mse")
    with pytest.raises(ValueError, match="`margin` is -1"):
        spr.get.harm(adata, "tuned", reference="parent", margin=-1)
    with pytest.raises(ValueError, match="'turned'"):
        spr.get.harm(adata, "turned", reference="parent")
    with pytest.raises(KeyError, match="tl.evaluate"):
        spr.get.harm(bare, "tuned")
