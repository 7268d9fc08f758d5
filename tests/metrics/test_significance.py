from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ks_2samp, ttest_ind
from sklearn.metrics import jaccard_score

from scperturbrl.metrics import match_cells, significant_jaccard


def cells(rng, n, depth, rates):
    counts = rng.multinomial(rng.poisson(depth, n), rates / rates.sum())
    return np.log1p(1e4 * counts / counts.sum(1, keepdims=True)).astype(np.float32), counts


@pytest.fixture
def design():
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, size=120) + 0.05
    changed = rates * np.where(np.arange(120) < 25, 3.0, 1.0)
    return rng, rates, changed


def counts_of(values):
    rates = np.expm1(values.astype(float))
    return rates / np.where(rates > 0, rates, np.inf).min(1, keepdims=True)


def test_equal_cells_are_left_alone(design):
    rng, rates, _ = design
    real, _ = cells(rng, 40, 500, rates)
    matched = match_cells(real, real)
    np.testing.assert_allclose(matched.predicted, real, rtol=1e-4)
    np.testing.assert_allclose(matched.observed, real, rtol=1e-4)


def test_number_and_depth_are_matched_and_stay_counts(design):
    rng, rates, _ = design
    deep, _ = cells(rng, 90, 2000, rates)
    real, counts = cells(rng, 60, 300, rates)
    matched = match_cells(deep, real)
    assert matched.depth_matched
    assert matched.predicted.shape == matched.observed.shape == (60, 120)
    thinned = counts_of(matched.predicted)
    np.testing.assert_allclose(thinned, np.rint(thinned), atol=0.05)
    assert ks_2samp(thinned.sum(1), counts.sum(1)).pvalue > 0.01
    np.testing.assert_allclose(np.expm1(matched.predicted).sum(1), 1e4, rtol=1e-3)


def test_the_deeper_side_is_thinned_whichever_it_is(design):
    rng, rates, _ = design
    shallow, counts = cells(rng, 60, 100, rates)
    real, _ = cells(rng, 60, 1000, rates)
    matched = match_cells(shallow, real)
    np.testing.assert_allclose(matched.predicted, shallow, rtol=1e-4)
    assert counts_of(matched.observed).sum(1).mean() == pytest.approx(counts.sum(1).mean(), rel=0.1)


def test_mean_profiles_are_sampled_like_cells(design):
    rng, rates, _ = design
    real, counts = cells(rng, 200, 400, rates)
    profile = np.tile(np.log1p(1e4 * rates / rates.sum()), (200, 1))
    matched = match_cells(profile, real)
    zeros = (matched.predicted == 0).mean(), (real == 0).mean()
    assert zeros[0] == pytest.approx(zeros[1], abs=0.02)
    assert matched.predicted.var(0).mean() == pytest.approx(real.var(0).mean(), rel=0.1)
    assert counts_of(matched.predicted).sum(1).mean() == pytest.approx(counts.sum(1).mean(), rel=0.05)


def test_corrected_expression_has_no_depth_to_match(design):
    rng, rates, _ = design
    real, _ = cells(rng, 50, 400, rates)
    corrected = real + rng.normal(0, 0.1, real.shape)
    matched = match_cells(real, corrected)
    assert not matched.depth_matched
    assert matched.predicted is real


def test_jaccard_matches_scipy_and_sklearn_at_equal_depth(design):
    rng, rates, changed = design
    control, _ = cells(rng, 150, 500, rates)
    half, other = cells(rng, 40, 500, changed)[0], cells(rng, 40, 500, changed)[0]
    matched = match_cells(half, other, seed=3)
    labels = []
    for block in (matched.predicted, matched.observed):
        p = ttest_ind(block.astype(float), control.astype(float), equal_var=False).pvalue
        labels.append(false_discovery_control(p) <= 0.05)
    assert labels[1].sum() > 5
    found = significant_jaccard(half, other, control=control, seed=3)
    assert found == pytest.approx(jaccard_score(*labels))


def test_more_and_smoother_cells_earn_nothing(design):
    rng, rates, changed = design
    control, _ = cells(rng, 300, 400, rates)
    real, _ = cells(rng, 50, 400, changed)
    # no effect at all but a tiny shift, made "significant" by many cells without noise
    smooth = np.tile(np.log1p(1e4 * rates / rates.sum()), (2000, 1))
    assert significant_jaccard(smooth, real, control=control) < 0.2


def test_no_significant_gene_is_nan_and_targets_do_not_count(design):
    rng, rates, _ = design
    control = rng.normal(5, 1, (60, 4))
    assert np.isnan(significant_jaccard(control[:30], control[:30], control=control))
    moved = control[:30] + [5, 0, 0, 0]
    assert significant_jaccard(moved, moved, control=control) == 1
    assert np.isnan(significant_jaccard(moved, moved, control=control, exclude=[0]))
