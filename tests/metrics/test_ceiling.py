from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import minmax_scale

from scperturbrl.metrics import METRICS, interpolated_duplicate, scaled_score, split_half


@given(n=st.integers(0, 30), seed=st.integers(0, 2**32 - 1))
def test_halves_are_disjoint_and_complete(n, seed):
    first, second = split_half(np.arange(n)[:, None], seed=seed)
    assert (len(first), len(second)) == (n // 2, n - n // 2)
    assert sorted([*first[:, 0], *second[:, 0]]) == list(range(n))


def test_halves_depend_on_the_seed_alone():
    cells = np.arange(40)[:, None]
    np.testing.assert_array_equal(split_half(cells, seed=1)[0], split_half(cells, seed=1)[0])
    assert (split_half(cells, seed=1)[0] != split_half(cells, seed=2)[0]).any()


@given(arrays(float, 6, elements=st.floats(-100, 100)).filter(lambda values: np.ptp(values) > 1e-3))
def test_scaled_between_the_extremes_is_minmax(values):
    scaled = scaled_score(values, baseline=values.min(), ceiling=values.max())
    np.testing.assert_allclose(scaled, minmax_scale(values), atol=1e-9)


def test_scaled_is_not_clipped_and_works_downwards():
    assert scaled_score(3.0, baseline=2.0, ceiling=1.0) == -1
    assert scaled_score(0.0, baseline=2.0, ceiling=1.0) == 2
    assert isinstance(scaled_score(3.0, baseline=2.0, ceiling=1.0), float)


def test_scaled_is_nan_between_equal_anchors():
    assert np.isnan(scaled_score(3.0, baseline=2.0, ceiling=2.0))
    scaled = scaled_score([1.0, 1.0], baseline=[0.0, 5.0], ceiling=[2.0, 5.0])
    np.testing.assert_array_equal(scaled, [0.5, np.nan])


@pytest.mark.parametrize("name", METRICS)
def test_scaled_error_of_a_better_value_is_higher(name):
    error = METRICS[name].error
    best = METRICS[name].best_value
    away = -1.0 if METRICS[name].higher_is_better else 1.0
    worse, better = (
        scaled_score(error(best + away * step), baseline=error(best + away), ceiling=error(best)) for step in (0.8, 0.2)
    )
    assert 0 < worse < better < 1


def test_interpolated_duplicate_has_the_james_stein_mean():
    rng = np.random.default_rng(0)
    cells, mean = rng.normal(1.0, 1.0, (50, 20)), rng.normal(0.0, 1.0, 20)
    moved, weight = interpolated_duplicate(cells, mean_response=mean)
    noise = (cells.var(0, ddof=1) / 50).sum()
    assert weight == pytest.approx(1 - noise / ((cells.mean(0) - mean) ** 2).sum())
    np.testing.assert_allclose(moved.mean(0), weight * cells.mean(0) + (1 - weight) * mean)
    np.testing.assert_allclose(moved - moved.mean(0), cells - cells.mean(0))


def test_interpolated_duplicate_is_nearer_to_the_truth_where_replicates_are_noisy():
    rng = np.random.default_rng(0)
    closer = 0
    for _ in range(50):
        response = rng.normal(0, 0.2, 30)
        truth = response + rng.normal(0, 0.2, 30)
        cells = rng.normal(truth, 1.5, (20, 30))
        moved, _ = interpolated_duplicate(cells, mean_response=response)
        closer += np.linalg.norm(moved.mean(0) - truth) < np.linalg.norm(cells.mean(0) - truth)
    assert closer > 45


def test_interpolated_duplicate_of_the_mean_itself_stays():
    cells = np.array([[1.0, 2.0], [3.0, 2.0]])
    moved, weight = interpolated_duplicate(cells, mean_response=[2.0, 2.0])
    assert weight == 1
    np.testing.assert_array_equal(moved, cells)
    with pytest.raises(ValueError, match="do not fit"):
        interpolated_duplicate(cells, mean_response=[1.0])
