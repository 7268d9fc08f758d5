"""Results that are older than what they would be taken for."""

from __future__ import annotations

import warnings

import pytest

import scperturbrl as spr


def test_a_layer_that_is_generated_anew_loses_the_scores_of_its_old_cells(fitted):
    spr.tl.generate(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.tl.score(fitted, layer="generator", percentile=True)
    spr.tl.select(fitted, key="generator")
    spr.tl.generate(fitted, seed=1)
    with pytest.raises(KeyError, match=r"no scores named 'generator'.*tl\.score"):
        spr.tl.select(fitted, key="generator")
    assert not {"generator_reward", "generator_percentile", "generator_selected"} & set(fitted.obs)
    assert "selection_generator" not in fitted.uns


def test_new_scores_take_the_percentiles_of_the_old_ones_away(fitted):
    spr.tl.score(fitted, percentile=True)
    spr.tl.score(fitted, verifiers=["pearson_topk"])
    assert "observed_percentile" not in fitted.obs


@pytest.mark.parametrize("read", [spr.get.evaluation, spr.get.held_out, spr.get.metric_calibration, spr.pl.evaluation])
def test_an_evaluation_of_another_split_is_told(fitted, read):
    spr.tl.evaluate(fitted, n_cells=20)
    read(fitted)
    spr.pp.split(fitted, seed=9, fraction=0.6)
    with pytest.warns(UserWarning, match=r"`uns\['evaluation'\]` was made under another split.*Evaluate again"):
        read(fitted)
