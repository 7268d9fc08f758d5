from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error, r2_score

from scperturbrl.metrics import response_weights, weighted_mse, weighted_r2_delta


@pytest.fixture
def profiles():
    return np.random.default_rng(0).gamma(2.0, size=(4, 40))


def test_errors_match_sklearn(profiles):
    predicted, observed, reference, weights = profiles
    ours = weighted_mse(predicted, observed, weights=weights)
    assert ours == pytest.approx(mean_squared_error(observed, predicted, sample_weight=weights), rel=1e-9)
    ours = weighted_r2_delta(predicted, observed, reference_mean=reference, weights=weights)
    expected = r2_score(observed - reference, predicted - reference, sample_weight=weights)
    assert ours == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30), st.floats(0.1, 10))
def test_weights_sum_to_one_whatever_the_scale_and_sign(statistic, factor):
    weights = response_weights(statistic)
    if np.ptp(np.abs(statistic)) < 1e-6:
        return
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    np.testing.assert_allclose(response_weights(-factor * np.array(statistic)), weights, atol=1e-6)


def test_missing_statistics_have_no_weight():
    assert response_weights([np.nan, 1.0, -2.0]).tolist() == [0.0, 0.2, 0.8]
    assert np.isnan(response_weights([2.0, 2.0, -2.0])).all()


def test_undefined_is_nan(profiles):
    predicted, observed, reference, _ = profiles
    assert np.isnan(weighted_mse(predicted, observed, weights=np.zeros(40)))
    one = np.eye(40)[0]
    assert np.isnan(weighted_r2_delta(predicted, observed, reference_mean=reference, weights=one))


def test_negative_weights_are_refused(profiles):
    with pytest.raises(ValueError, match="must not be negative"):
        weighted_mse(profiles[0], profiles[1], weights=-np.ones(40))
