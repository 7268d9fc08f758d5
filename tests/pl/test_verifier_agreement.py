from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr

PAIR = {"verifier": "rmse_topk", "metric": "energy_distance"}
ALL = ["generator", "generator_rl", "additive"]


def test_every_model_and_condition_is_a_point(adata, drawn):
    ax = spr.pl.verifier_agreement(adata, **PAIR, models=ALL, show=False)
    frame = spr.get.verifier_agreement(adata, **PAIR, models=ALL)
    assert set(frame["model"]) == set(ALL)
    for model, part in frame.groupby("model"):
        (line,) = drawn(ax, model)
        np.testing.assert_allclose(line.get_xydata(), part[["score", "value"]])


def test_lines_lead_from_the_first_model_to_the_others(adata, drawn):
    ax = spr.pl.verifier_agreement(adata, **PAIR, models=ALL, show=False)
    frame = spr.get.verifier_agreement(adata, **PAIR, models=ALL).set_index(["condition", "model"])
    lines = drawn(ax, "shift")
    assert len(lines) == 2 * frame.index.get_level_values(0).nunique()
    starts = frame.xs("generator", level="model")[["score", "value"]].to_numpy()
    assert all((np.abs(starts - line.get_xydata()[0]).sum(1) < 1e-9).any() for line in lines)


def test_better_is_up(adata, drawn):
    assert spr.pl.verifier_agreement(adata, **PAIR, show=False).yaxis_inverted()
    assert not spr.pl.verifier_agreement(adata, metric="pearson_delta", show=False).yaxis_inverted()
    (best,) = drawn(spr.pl.verifier_agreement(adata, metric="variance_ratio", show=False), "best")
    assert set(best.get_ydata()) == {1}


def test_title_has_the_number_of_the_matrix(adata):
    many = [*ALL, "control", "perturbed_mean", "matching_mean", "nearest_condition", "additive_ridge"]
    ax = spr.pl.verifier_agreement(adata, **PAIR, models=many, show=False)
    frame = spr.get.verifier_correlation(adata, verifiers="rmse_topk", metrics="energy_distance", models=many)
    number = ax.get_title().split()[1].replace("\N{MINUS SIGN}", "-")
    assert float(number) == pytest.approx(frame["correlation"].item(), abs=0.005)
    assert ax.get_title().endswith(f"(n = {frame['n'].item()})")


def test_a_few_points_have_no_correlation(adata):
    title = spr.pl.verifier_agreement(adata, **PAIR, models=["generator", "additive"], show=False).get_title()
    assert title == "n = 2: too few points for a correlation"


def test_models_keep_their_colours(adata, drawn):
    few, all_of_them = (
        drawn(spr.pl.verifier_agreement(adata, **PAIR, models=models, show=False), "generator_rl")[0].get_color()
        for models in (["generator_rl", "additive"], None)
    )
    assert few == all_of_them


def test_long_numbers_do_not_run_into_each_other(adata, apart):
    table = adata.uns["evaluation"]
    narrow = table["metric"] == "score_rmse_topk"
    table.loc[narrow, "value"] = 0.4475 + 0.018 * table.loc[narrow, "value"].rank(pct=True)
    ax = spr.pl.verifier_agreement(adata, **PAIR, show=False)
    assert apart(ax.figure, ax.get_xticklabels())
