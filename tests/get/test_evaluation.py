from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scperturbrl as spr
from scperturbrl.metrics import METRICS


@pytest.fixture
def table(adata):
    return adata.uns["evaluation"]


def random_evaluation(seed=0):
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([["generator", "control"], ["A", "B", "C"], ["mse", "mae"]])
    frame = index.to_frame(index=False, name=["model", "condition", "metric"])
    kinds = frame["model"].map({"generator": "generator", "control": "baseline"})
    frame = frame.assign(kind=kinds, role="held-out", n_cells=5, value=rng.normal(size=12), scaled=rng.normal(size=12))
    return frame.set_index(frame.index.astype(str))


def test_quantiles_over_conditions(adata):
    adata.uns["evaluation"] = random_evaluation()
    summary = spr.get.evaluation(adata).set_index(["model", "metric"])
    for (model, metric), part in random_evaluation().groupby(["model", "metric"]):
        row = summary.loc[(model, metric)]
        for prefix, column in (("", "value"), ("scaled_", "scaled")):
            low, middle, high = np.quantile(part[column], [0.25, 0.5, 0.75])
            found = row[[f"{prefix}q25", f"{prefix}median", f"{prefix}q75"]].astype(float)
            np.testing.assert_allclose(found, [low, middle, high])
        assert row["n_conditions"] == 3


def test_missing_values_are_left_out_and_all_missing_stays(adata):
    frame = random_evaluation()
    frame.loc[(frame["metric"] == "mse") & (frame["condition"] == "A"), "value"] = np.nan
    frame.loc[frame["metric"] == "mae", "scaled"] = np.nan
    adata.uns["evaluation"] = frame
    summary = spr.get.evaluation(adata).set_index(["metric", "model"])
    assert (summary.loc["mse", "n_conditions"] == 2).all()
    assert summary.loc["mae", "scaled_median"].isna().all()
    assert summary.loc["mae", "median"].notna().all()


def test_one_row_a_model_and_metric(adata, table):
    summary = spr.get.evaluation(adata)
    assert len(summary) == table["model"].nunique() * table["metric"].nunique()
    assert set(summary["metric"]) == {*METRICS, *(f"score_{name}" for name in spr.verifiers.DEFAULT)}


def test_anchors_are_zero_and_one(adata):
    summary = spr.get.evaluation(adata).dropna(subset="scaled_median").set_index("model")
    np.testing.assert_allclose(summary.loc["perturbed_mean", "scaled_median"], 0, atol=1e-12)
    np.testing.assert_allclose(summary.loc["split_half", "scaled_median"], 1)


def test_order_by_role_and_kind(adata):
    summary = spr.get.evaluation(adata)
    assert list(dict.fromkeys(summary["role"])) == ["rewarded", "related", "held-out"]
    assert list(dict.fromkeys(summary["kind"])) == ["generator", "baseline", "ceiling"]


def test_chosen_metrics_and_models_in_order(adata):
    summary = spr.get.evaluation(adata, metrics=["mse", "score_rmse_topk"], models=["control", "generator"])
    assert summary["metric"].tolist() == ["mse", "mse", "score_rmse_topk", "score_rmse_topk"]
    assert summary["model"].tolist() == ["control", "generator"] * 2


def test_categories_as_read_from_a_file_change_nothing(adata, table):
    expected = spr.get.evaluation(adata)
    names = ["model", "kind", "condition", "metric", "role"]
    adata.uns["evaluation"] = table.astype(dict.fromkeys(names, "category"))
    pd.testing.assert_frame_equal(spr.get.evaluation(adata), expected)


def test_missing_evaluation_names_the_verb(bare):
    with pytest.raises(KeyError, match=r"tl\.evaluate\(adata\)"):
        spr.get.evaluation(bare)


@pytest.mark.parametrize(("option", "value", "hint"), [("metrics", "mze", "mse"), ("models", "generatr", "generator")])
def test_unknown_names_are_refused(adata, option, value, hint):
    with pytest.raises(ValueError, match=hint):
        spr.get.evaluation(adata, **{option: value})
