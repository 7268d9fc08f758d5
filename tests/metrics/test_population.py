from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import euclidean
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error

from scperturbrl.metrics import l2, mae, mse, pearson_delta, spearman_delta

seeds = st.integers(0, 2**32 - 1)


def profiles(seed: int, n_genes: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).gamma(1.0, size=(3, n_genes))


@pytest.mark.parametrize(("ours", "oracle"), [(l2, euclidean), (mse, mean_squared_error), (mae, mean_absolute_error)])
def test_error_matches_oracle(ours, oracle):
    predicted, observed, _ = profiles(0)
    assert ours(predicted, observed) == pytest.approx(oracle(predicted, observed), rel=1e-12)


@pytest.mark.parametrize(("ours", "oracle"), [(pearson_delta, pearsonr), (spearman_delta, spearmanr)])
@pytest.mark.parametrize("genes", [None, np.array([1, 4, 9, 20]), np.arange(30) % 2 == 0])
def test_correlation_matches_scipy(ours, oracle, genes):
    predicted, observed, reference = profiles(1)
    chosen = slice(None) if genes is None else genes
    expected = oracle((predicted - reference)[chosen], (observed - reference)[chosen]).statistic
    assert ours(predicted, observed, reference_mean=reference, genes=genes) == pytest.approx(expected, rel=1e-9)


def test_spearman_shares_ranks_of_ties():
    predicted, observed = np.array([1.0, 1.0, 2.0, 3.0, 3.0]), np.array([2.0, 1.0, 1.0, 5.0, 4.0])
    expected = spearmanr(predicted, observed).statistic
    assert spearman_delta(predicted, observed, reference_mean=np.zeros(5)) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [pearson_delta, spearman_delta])
def test_correlation_is_nan_without_variance(metric):
    predicted, observed, reference = profiles(2)
    assert math.isnan(metric(reference, observed, reference_mean=reference))
    assert math.isnan(metric(predicted, reference + 0.25, reference_mean=reference)) or metric is spearman_delta
    assert math.isnan(metric(predicted, observed, reference_mean=reference, genes=[0, 1]))
    assert math.isnan(metric(np.full(30, np.nan), observed, reference_mean=reference))


@pytest.mark.parametrize("metric", [pearson_delta, spearman_delta])
def test_rounding_has_no_direction(metric):
    cells = np.random.default_rng(3).gamma(1.0, size=(400, 50)).astype(np.float32)
    observed = np.random.default_rng(4).gamma(1.0, size=50)
    reordered = cells[::-1].mean(axis=0)
    assert (reordered != cells.mean(axis=0)).any()
    assert math.isnan(metric(reordered, observed, reference_mean=cells.mean(axis=0)))


@given(seed=seeds, scale=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_correlation_ignores_size_and_order_of_genes(seed, scale):
    predicted, observed, reference = profiles(seed)
    before = pearson_delta(predicted, observed, reference_mean=reference)
    stretched = reference + scale * (predicted - reference)
    order = np.random.default_rng(seed).permutation(len(reference))
    after = pearson_delta(stretched[order], observed[order], reference_mean=reference[order])
    assert after == pytest.approx(before, abs=1e-9)


def test_systema_reference_removes_the_shared_response():
    rng = np.random.default_rng(5)
    shared, specific = rng.normal(0, 3, 200), rng.normal(0, 1, (40, 200))
    centroids = 10 + shared + specific
    prediction = centroids.mean(axis=0) + rng.normal(0, 0.1, 200)
    assert pearson_delta(prediction, centroids[0], reference_mean=np.full(200, 10.0)) > 0.8
    assert abs(pearson_delta(prediction, centroids[0], reference_mean=centroids.mean(axis=0))) < 0.3


@pytest.mark.parametrize("metric", [l2, mse, mae])
def test_shapes_that_would_broadcast_are_refused(metric):
    with pytest.raises(ValueError, match="same shape"):
        metric(np.zeros(3), np.zeros((3, 1)))
