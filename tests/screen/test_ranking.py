from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scperturbrl.screen.ranking import nearest_measured, normal_width, ranks, top_probability


def test_the_highest_come_first_and_unknown_ones_last():
    assert ranks(np.array([3.0, np.nan, 1.0, 5.0, 3.0])).tolist() == [2, 5, 4, 1, 3]


def test_odds_agree_with_the_normal_distribution():
    rng = np.random.default_rng(0)
    residuals = {"combination": rng.normal(size=20_000)}
    found = top_probability(np.array([0.0, 1.0]), np.array(["combination"] * 2), residuals, 1, rng)
    assert found[1] == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.06)
    assert found.sum() == pytest.approx(1)


def test_odds_are_unknown_without_residuals():
    kinds = np.array(["combination", "several", "combination"])
    found = top_probability(
        np.array([1.0, 2.0, np.nan]), kinds, {"combination": np.array([0.1])}, 1, np.random.default_rng(0)
    )
    # the second takes part with its value, and is always ahead
    assert found[0] == 0
    assert np.isnan(found[1:]).all()


def test_the_nearest_share_parts(doubles, make_conditions):
    _, measured, single = doubles
    asked = make_conditions([(4, 5), (3,)])
    effects = np.stack([single[4] + single[5], single[3]]).astype(np.float32)
    found = nearest_measured(asked, effects, measured)
    labels = measured.conditions.labels()
    assert {labels[i] for i in found[0][:2]} == {(4,), (5,)}
    assert labels[found[1][0]] == (3,)


def test_the_interval_of_a_measured_value_is_normal():
    assert normal_width(2.0, 0.8) == pytest.approx(2 * stats.norm.ppf(0.9))
