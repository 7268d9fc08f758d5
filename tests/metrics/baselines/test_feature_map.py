from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.metrics import embedding_ridge_effect
from scperturbrl.metrics.baselines.feature_map import fit_feature_map, shrunk_map, without_some
from scperturbrl.metrics.baselines.learnable import Learnable


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    features = rng.normal(2, 1, (12, 3))
    return features, 4 + features @ rng.normal(size=(3, 5)) + 0.1 * rng.normal(size=(12, 5))


def test_the_map_gives_the_predictions_of_the_ridge(world):
    features, effects = world
    new = np.random.default_rng(1).normal(size=(4, 3))
    found = fit_feature_map(features, effects)
    expected = embedding_ridge_effect(features, effects, features_query=new).effect
    np.testing.assert_allclose(found[0] + new @ found[1:], expected)


def test_left_out_rows_do_not_enter_their_prediction(world):
    features, effects = world
    train, left_out = np.arange(9), np.arange(9, 12)
    mean, departure = without_some(features, effects, train, left_out)
    spoilt = effects.copy()
    spoilt[left_out] = 99
    for one, other in zip((mean, departure), without_some(features, spoilt, train, left_out), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(mean + departure, effects[left_out], atol=1)


def test_shares_shrink_the_mean_and_the_departures(world):
    features, effects = world
    found, mean = fit_feature_map(features, effects), effects.mean(0)
    nothing = shrunk_map(found, mean, Learnable(0.0, 0.0, 0.0, 1.0))
    assert not nothing.any()
    only_mean = shrunk_map(found, mean, Learnable(0.5, 0.0, 0.0, 1.0))
    np.testing.assert_allclose(only_mean[0] + features @ only_mean[1:], np.tile(mean / 2, (12, 1)))
    np.testing.assert_allclose(shrunk_map(found, mean, Learnable(1.0, 1.0, 1.0, 0.0)), found)
