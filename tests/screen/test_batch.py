from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

from scperturbrl.screen.batch import INTERACTION, NOISE, Knowledge, choose_batch


@pytest.fixture
def measured(make_conditions):
    return make_conditions([(0,), (1,), (2,), (0, 1)])


@pytest.fixture
def candidates(make_conditions):
    return make_conditions([(0, 2), (1, 2), (0, 3), (3, 4), (2, 3), (5,)])


def test_exploit_takes_the_highest_values(candidates, measured):
    value = np.array([1.0, 5, 2, np.nan, 4, 3])
    found = choose_batch(candidates, measured, value, np.ones(6), n=3, strategy="exploit")
    assert found.tolist() == [1, 4, 5]


def test_the_variance_is_that_of_a_gaussian_process(candidates, measured):
    design, query = measured.design(6), candidates.design(6)
    noise = NOISE + INTERACTION * (measured.n_parts > 1)
    process = GaussianProcessRegressor(DotProduct(0, "fixed"), alpha=noise, optimizer=None)
    _, deviation = process.fit(design, np.zeros(4)).predict(query, return_std=True)
    expected = deviation**2 + INTERACTION * (candidates.n_parts > 1)
    np.testing.assert_allclose(Knowledge.of(candidates, measured).variance(), expected, atol=1e-6)


def test_explore_goes_where_least_is_known_and_never_twice_to_the_same_place(candidates, measured):
    found = choose_batch(candidates, measured, np.zeros(6), np.ones(6), n=3, strategy="explore")
    # two unknown perturbations first, then the one that was not in it
    assert found.tolist()[:2] == [3, 5]


def test_balanced_gives_way_to_what_is_unknown(candidates, measured):
    value = np.array([1.0, 0.99, 0.98, 0.97, 0.96, 0.95])
    certain = choose_batch(candidates, measured, value, np.full(6, 1e-6), n=2, strategy="balanced")
    unsure = choose_batch(candidates, measured, value, np.full(6, 5.0), n=2, strategy="balanced")
    assert certain.tolist() == [0, 1]
    assert unsure.tolist()[0] == 3


def test_contexts_share_half(make_conditions):
    measured = make_conditions([(0,)], group=[0])
    candidates = make_conditions([(0,), (0,)], group=[0, 1])
    here, there = Knowledge.of(candidates, measured).variance()
    assert here < there < 1


def test_no_more_than_there_are(candidates, measured):
    value = np.where(np.arange(6) < 2, 1.0, np.nan)
    for strategy in ("exploit", "explore", "balanced"):
        found = choose_batch(candidates, measured, value, np.full(6, np.nan), n=9, strategy=strategy)
        assert sorted(found) == [0, 1]


def test_learning_is_as_good_as_measuring(make_conditions):
    rng = np.random.default_rng(0)
    candidates = make_conditions([tuple(sorted(rng.choice(9, 2, replace=False))) for _ in range(12)], group=[0, 1] * 6)
    known = [(0,), (1,), (2, 3)]
    told = Knowledge.of(candidates, make_conditions(known, group=[0, 1, 0]))
    for place in (3, 4, 8):
        told.learn(place)
    more = [*known, *(tuple(candidates.codes[place]) for place in (3, 4, 8))]
    measured = make_conditions(more, group=[0, 1, 0, 1, 0, 0])
    np.testing.assert_allclose(told.variance(), Knowledge.of(candidates, measured).variance(), atol=1e-10)


def test_perturbations_that_nobody_measured_need_no_matrix(make_conditions, measured):
    # a matrix of all of them would take 7 GB
    many = make_conditions([(i,) for i in range(30_000)])
    knowledge = Knowledge.of(many, measured)
    assert knowledge.covariance.shape == (4, 4)
    found = choose_batch(many, measured, np.zeros(30_000), np.ones(30_000), n=5, strategy="explore")
    assert not set(found) & {0, 1, 2}
