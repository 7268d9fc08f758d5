from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from scperturbrl.metrics import discrimination_score

METRICS = {"cosine": "cosine", "l1": "cityblock", "l2": "euclidean"}


def effects(seed: int, n_conditions: int = 15, n_genes: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, n_conditions, n_genes))


@pytest.mark.parametrize("metric", METRICS)
def test_matches_ranks_of_scipy(metric):
    predicted, observed = effects(0)
    ranks = rankdata(cdist(predicted, observed, METRICS[metric]), axis=1).diagonal()
    expected = (len(observed) - ranks) / (len(observed) - 1)
    np.testing.assert_allclose(discrimination_score(predicted, observed, metric=metric), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_excluded_genes_do_not_count(metric):
    predicted, observed = effects(1)
    exclude = np.random.default_rng(2).random(predicted.shape) < 0.3
    score = discrimination_score(predicted, observed, metric=metric, exclude=exclude)
    for row, keep in enumerate(~exclude):
        distance = cdist(predicted[row : row + 1, keep], observed[:, keep], METRICS[metric])[0]
        assert score[row] == pytest.approx((len(observed) - rankdata(distance)[row]) / (len(observed) - 1))


def test_knowing_only_the_target_is_no_prediction():
    _, observed = effects(3, n_conditions=20, n_genes=50)
    own_target = np.eye(20, 50, dtype=bool)
    observed[own_target] = -30.0
    predicted = np.where(own_target, -30.0, 0.0)
    assert (discrimination_score(predicted, observed) == 1).all()
    np.testing.assert_allclose(discrimination_score(predicted, observed, exclude=own_target), 0.5)


@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from(sorted(METRICS)))
@settings(max_examples=30, deadline=None)
def test_perfect_constant_and_order(seed, metric):
    predicted, observed = effects(seed)
    assert (discrimination_score(observed, observed, metric=metric) == 1).all()
    constant = np.tile(predicted[0], (len(observed), 1))
    assert discrimination_score(constant, observed, metric=metric).mean() == pytest.approx(0.5)
    order = np.random.default_rng(seed).permutation(len(observed))
    score = discrimination_score(predicted, observed, metric=metric)
    np.testing.assert_allclose(discrimination_score(predicted[order], observed[order], metric=metric), score[order])


@pytest.mark.parametrize("metric", METRICS)
def test_random_predictions_are_at_chance(metric):
    predicted, observed = effects(4, n_conditions=200, n_genes=30)
    # Uniform scores: the standard error of their mean is sqrt(1/12/200) = 0.02.
    assert discrimination_score(predicted, observed, metric=metric).mean() == pytest.approx(0.5, abs=0.08)


def test_worst_is_zero_and_cosine_ignores_size():
    predicted, observed = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert discrimination_score(predicted, observed).tolist() == [0, 0]
    predicted, observed = effects(5)
    np.testing.assert_array_equal(
        discrimination_score(100 * predicted, observed), discrimination_score(predicted, observed)
    )


def test_ties_count_half():
    predicted, observed = effects(6)
    assert (discrimination_score(np.zeros_like(predicted), observed) == 0.5).all()
    twins = np.repeat(observed[:1], 5, axis=0)
    for metric in METRICS:
        assert (discrimination_score(predicted[:5], twins, metric=metric) == 0.5).all()


def test_undefined_and_wrong_input():
    predicted, observed = effects(7)
    assert np.isnan(discrimination_score(predicted[:1], observed[:1])).all()
    predicted[3] = np.nan
    assert np.flatnonzero(np.isnan(discrimination_score(predicted, observed, metric="l1"))).tolist() == [3]
    with pytest.raises(ValueError, match="choose 'cosine'"):
        discrimination_score(observed, observed, metric="cosin")
    with pytest.raises(ValueError, match="`exclude` has shape"):
        discrimination_score(observed, observed, exclude=np.zeros(20, dtype=bool))


@pytest.mark.parametrize("metric", ["cosine", "l1", "l2"])
def test_some_of_the_predictions_score_as_among_all(metric):
    rng = np.random.default_rng(0)
    predicted, observed = rng.normal(size=(2, 9, 12))
    exclude, truth = rng.random((9, 12)) < 0.2, [4, 1, 7]
    full = discrimination_score(predicted, observed, metric=metric, exclude=exclude)
    some = discrimination_score(predicted[truth], observed, metric=metric, exclude=exclude[truth], truth=truth)
    np.testing.assert_array_equal(some, full[truth])
