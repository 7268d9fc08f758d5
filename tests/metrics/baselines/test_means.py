from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsRegressor

from scperturbrl.metrics import (
    additive_effect,
    control_effect,
    matching_mean_effect,
    nearest_effect,
    perturbed_mean_effect,
)


def pairs_of(n_parts: int) -> np.ndarray:
    design = np.zeros((n_parts * (n_parts - 1) // 2, n_parts))
    for row, members in enumerate(combinations(range(n_parts), 2)):
        design[row, list(members)] = 1
    return design


def test_control_and_mean():
    effects = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(control_effect(effects, n_queries=2), np.zeros((2, 4)))
    expected = pd.DataFrame(effects).mean().to_numpy()
    np.testing.assert_allclose(perturbed_mean_effect(effects, n_queries=3), np.tile(expected, (3, 1)))


@given(seed=st.integers(0, 2**32 - 1), n_parts=st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_additive_recovers_additive_doubles(seed, n_parts):
    rng = np.random.default_rng(seed)
    parts, query = rng.normal(size=(n_parts, 7)), pairs_of(n_parts)
    # The doubles in training are nonsense: only what was measured alone may count.
    design = np.concatenate([np.eye(n_parts), query])
    effects = np.concatenate([parts, rng.normal(0, 100, (len(query), 7))])
    order = rng.permutation(len(design))
    predicted = additive_effect(design[order], effects[order], design_query=query)
    np.testing.assert_allclose(predicted.effect, query @ parts, atol=1e-10)
    assert (predicted.parts_seen == 2).all()


def test_additive_counts_the_parts_it_knows():
    design, effects = [[1, 0, 0], [0, 1, 0], [0, 1, 1]], [[2.0, 0.0], [0.0, 4.0], [9.0, 9.0]]
    query = [[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1]]
    predicted = additive_effect(design, effects, design_query=query)
    assert predicted.parts_seen.tolist() == [0, 2, 1, 0]
    np.testing.assert_array_equal(predicted.effect, [[0, 0], [2, 4], [3, 2], [1, 2]])


def test_additive_averages_repeats_and_takes_the_nearest_dose():
    design, effects = [[0.1], [1.0], [1.0]], [[1.0], [4.0], [6.0]]
    predicted = additive_effect(design, effects, design_query=[[0.2], [0.9], [7.0]])
    np.testing.assert_array_equal(predicted.effect, [[1.0], [5.0], [5.0]])


def test_additive_without_singles_is_nan():
    predicted = additive_effect([[1, 1]], [[3.0]], design_query=[[1, 0], [0, 0]])
    np.testing.assert_array_equal(predicted.effect, [[np.nan], [0.0]])
    assert predicted.parts_seen.tolist() == [0, 0]


def test_nearest_matches_sklearn():
    rng = np.random.default_rng(1)
    features, effects, query = rng.normal(size=(20, 3)), rng.normal(size=(20, 5)), rng.normal(size=(8, 3))
    expected = KNeighborsRegressor(n_neighbors=1).fit(features, effects).predict(query)
    np.testing.assert_allclose(nearest_effect(features, effects, features_query=query), expected)


def test_nearest_of_a_double_is_the_mean_of_its_singles():
    effects = np.random.default_rng(2).normal(size=(4, 3))
    predicted = nearest_effect(np.eye(4), effects, features_query=[[1, 1, 0, 0]])
    np.testing.assert_allclose(predicted, effects[:2].mean(axis=0, keepdims=True))


def test_matching_mean_matches_pandas():
    rng = np.random.default_rng(3)
    labels, effects = rng.choice(list("ABCD"), 30).tolist(), rng.normal(size=(30, 4))
    groups = pd.DataFrame(effects).groupby(labels)
    predicted = matching_mean_effect(labels, effects, labels_query=["B", "unseen", "A"])
    np.testing.assert_allclose(predicted.effect[[0, 2]], groups.mean().loc[["B", "A"]])
    np.testing.assert_allclose(predicted.effect[1], effects.mean(axis=0))
    assert predicted.n_matched.tolist() == [groups.size()["B"], 0, groups.size()["A"]]


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        additive_effect(np.eye(2), np.ones((3, 4)), design_query=np.eye(2))
    with pytest.raises(ValueError, match="do not fit"):
        nearest_effect(np.eye(3), np.ones((3, 4)), features_query=np.eye(2))
    with pytest.raises(ValueError, match="drop conditions without cells"):
        perturbed_mean_effect(np.full((2, 2), np.nan), n_queries=1)
    with pytest.raises(ValueError, match="drop conditions without cells"):
        control_effect(np.ones((0, 2)), n_queries=1)
    with pytest.raises(ValueError, match="encode absence as 0"):
        additive_effect([[np.nan]], [[1.0]], design_query=[[1]])
    with pytest.raises(ValueError, match="names 1 conditions"):
        matching_mean_effect(["A"], np.ones((2, 2)), labels_query=["A"])
