from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from scperturbrl._core.random import numpy_rng
from scperturbrl.metrics import paired_bootstrap
from scperturbrl.metrics.bootstrap import ratio_interval


def test_interval_matches_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.3, 1, 40), rng.normal(0, 1, 40)
    ours = paired_bootstrap(first, second, n_resamples=20000)
    theirs = bootstrap((first - second,), np.mean, n_resamples=20000, method="percentile").confidence_interval
    assert ours.difference == pytest.approx((first - second).mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_resamples_are_those_of_the_seed():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 12))
    means = (first - second)[numpy_rng(7, "bootstrap").integers(12, size=(500, 12))].mean(1)
    found = paired_bootstrap(first, second, n_resamples=500, seed=7)
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), atol=1e-12)
    assert found.p_value == pytest.approx(2 * (min((means <= 0).sum(), (means >= 0).sum()) + 1) / 501)


def test_pairing_sees_what_spread_over_conditions_hides():
    hardness = np.linspace(0, 100, 20)
    found = paired_bootstrap(hardness + 0.1 + 0.01 * np.arange(20), hardness)
    assert found.low > 0
    assert found.p_value < 0.01


def test_groups_are_averaged_before_they_are_drawn():
    first, second = np.array([1.0, 3.0, 5.0, 9.0]), np.zeros(4)
    found = paired_bootstrap(first, second, groups=["a", "a", "b", "b"])
    assert found.n_units == 2
    assert (found.difference, found.low, found.high) == (4.5, 2, 7)


def test_missing_pairs_are_left_out():
    found = paired_bootstrap([1.0, np.nan, 3.0], [0.0, 1.0, np.nan])
    assert found[0] == 1
    assert found.n_units == 1
    assert np.isnan(found.low)
    assert paired_bootstrap([np.nan], [0.0]).n_units == 0


def test_equal_models_do_not_differ():
    assert paired_bootstrap(np.arange(5.0), np.arange(5.0)).p_value == 1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`confidence` is 95"):
        paired_bootstrap([1.0], [2.0], confidence=95)
    with pytest.raises(ValueError, match="`groups` has 1 entries for 2 pairs"):
        paired_bootstrap([1.0, 2.0], [2.0, 3.0], groups=["a"])


def test_the_interval_of_a_ratio_matches_scipy():
    rng = np.random.default_rng(1)
    below = rng.uniform(0.5, 1.5, 40)
    above = 0.4 * below + rng.normal(0, 0.2, 40)
    ratio, low, high = ratio_interval(above, below, n_resamples=20000)
    theirs = bootstrap(
        (above, below),
        lambda a, b: a.mean() / b.mean(),
        n_resamples=20000,
        method="percentile",
        paired=True,
        vectorized=False,
    ).confidence_interval
    assert ratio == pytest.approx(above.mean() / below.mean())
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_ratio_without_a_denominator_has_no_value():
    assert np.isnan(ratio_interval(np.ones(3), np.array([-1.0, -1.0, 0.5]))).all()
    assert np.isnan(ratio_interval(np.ones(0), np.ones(0))).all()
    # sometimes above 0 and sometimes below
    ratio, low, high = ratio_interval(np.ones(4), np.array([3.0, -1.0, -1.0, 0.5]))
    assert ratio == pytest.approx(1 / 0.375)
    assert np.isnan([low, high]).all()
    assert ratio_interval(np.ones(1), np.full(1, 2.0))[0] == 0.5
