from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from scperturbrl.metrics import spread_ratio, variance_ratio, zero_fraction, zero_fraction_error


def populations(seed: int, n: int = 40, m: int = 60, n_genes: int = 25) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rates = rng.gamma(1.0, size=n_genes)
    return np.log1p(rng.poisson(2 * rates, (n, n_genes))), np.log1p(rng.poisson(rates, (m, n_genes)))


def test_variance_ratio_matches_pandas():
    predicted, observed = (pd.DataFrame(part) for part in populations(0))
    keep = (observed.var() > 0) & (observed.gt(0).mean() >= 0.05)
    expected = (predicted.var() / observed.var())[keep].median()
    assert variance_ratio(predicted.to_numpy(), observed.to_numpy()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("genes", [[2, 3, 7], np.isin(np.arange(25), [2, 3, 7])])
def test_variance_ratio_of_chosen_genes(genes):
    predicted, observed = populations(1)
    expected = variance_ratio(predicted[:, [2, 3, 7]], observed[:, [2, 3, 7]])
    assert variance_ratio(predicted, observed, genes=genes) == pytest.approx(expected, rel=1e-12)


def test_variance_ratio_leaves_out_genes_that_say_nothing():
    predicted, observed = populations(2)
    before = variance_ratio(predicted, observed)
    rare = np.zeros((60, 2))
    rare[0, 0] = 5.0
    widened = np.concatenate([observed, rare], axis=1), np.concatenate([predicted, np.ones((40, 2))], axis=1)
    assert variance_ratio(widened[1], widened[0]) == before
    assert variance_ratio(widened[1], widened[0], genes=[25], min_expressed=0.0) == 0
    assert math.isnan(variance_ratio(widened[1], widened[0], genes=[26], min_expressed=0.0))


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.01, 5))
@settings(max_examples=25, deadline=None)
def test_shrinking_cells_towards_their_mean_is_seen(seed, factor):
    _, observed = populations(seed)
    shrunk = observed.mean(axis=0) + factor * (observed - observed.mean(axis=0))
    assert variance_ratio(shrunk, observed) == pytest.approx(factor**2, rel=1e-6)
    assert spread_ratio(shrunk, observed) == pytest.approx(factor, rel=1e-6)


def test_spread_ratio_matches_scipy():
    predicted, observed = populations(3)
    assert spread_ratio(predicted, observed) == pytest.approx(pdist(predicted).mean() / pdist(observed).mean())
    assert spread_ratio(np.ones((5, 25)), observed) == 0
    assert math.isnan(spread_ratio(predicted, np.ones((5, 25))))


def test_zero_fraction_matches_pandas():
    predicted, observed = populations(4)
    expected = (pd.DataFrame(predicted).eq(0).mean() - pd.DataFrame(observed).eq(0).mean()).abs().mean()
    np.testing.assert_allclose(zero_fraction(predicted), pd.DataFrame(predicted).eq(0).mean())
    assert zero_fraction_error(predicted, observed) == pytest.approx(expected, rel=1e-12)
    assert zero_fraction_error(np.full((4, 25), 0.1), np.full((4, 25), -0.1)) == 1


@pytest.mark.parametrize("metric", [variance_ratio, spread_ratio])
def test_one_cell_has_no_spread(metric):
    predicted, observed = populations(5)
    assert math.isnan(metric(predicted[:1], observed))
    assert math.isnan(metric(predicted, observed[:1]))


def test_zero_fraction_error_without_cells_is_nan():
    predicted, observed = populations(6)
    assert math.isnan(zero_fraction_error(predicted[:0], observed))
    assert zero_fraction_error(observed[:1], observed[:1]) == 0
