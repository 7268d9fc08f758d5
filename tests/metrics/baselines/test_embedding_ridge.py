from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from scperturbrl.metrics import embedding_ridge_effect


def screen(seed, noise=1.0, n=30):
    rng = np.random.default_rng(seed)
    features, slope = rng.normal(2, 3, (n, 6)), rng.normal(size=(6, 9))
    return features, 5 + features @ slope + rng.normal(0, noise, (n, 9)), rng.normal(2, 3, (4, 6))


def standardised(features, query):
    scale = np.sqrt(np.square(features - features.mean(0)).sum(1).mean())
    return (features - features.mean(0)) / scale, (query - features.mean(0)) / scale


@pytest.mark.parametrize("alpha", [0.01, 1.0, 30.0])
def test_matches_sklearn(alpha):
    features, effects, query = screen(0)
    found = embedding_ridge_effect(features, effects, features_query=query, alphas=[alpha])
    train, wanted = standardised(features, query)
    np.testing.assert_allclose(found.effect, Ridge(alpha=alpha).fit(train, effects).predict(wanted), atol=1e-8)


@pytest.mark.parametrize("noise", [0.1, 10.0, 60.0])
def test_chooses_the_penalty_of_ridge_cv(noise):
    features, effects, query = screen(1, noise)
    alphas = np.logspace(-3, 3, 13)
    train, _ = standardised(features, query)
    expected = RidgeCV(alphas=alphas).fit(train, effects).alpha_
    assert embedding_ridge_effect(features, effects, features_query=query, alphas=alphas).alpha == pytest.approx(
        expected
    )


def test_more_features_than_perturbations_that_say_nothing_give_nearly_the_mean():
    rng = np.random.default_rng(2)
    features, effects = rng.normal(size=(25, 400)), rng.normal(1, 1, (25, 40))
    found = embedding_ridge_effect(features, effects, features_query=rng.normal(size=(5, 400))).effect
    assert np.abs(found - effects.mean(0)).max() < 0.1


@pytest.mark.parametrize("features", [np.zeros((5, 2)), np.ones((2, 2)) * [[1], [2]]])
def test_without_anything_to_learn_from_it_is_the_mean(features):
    effects = np.random.default_rng(3).normal(size=(len(features), 3))
    found = embedding_ridge_effect(features, effects, features_query=[[7.0, 7.0]])
    np.testing.assert_allclose(found.effect[0], effects.mean(0))
    assert found.alpha == float("inf")


def test_the_error_is_that_of_refitting_without_each_perturbation():
    features, effects, query = screen(4, noise=4.0, n=12)
    found = embedding_ridge_effect(features, effects, features_query=query, alphas=[0.3])
    train, _ = standardised(features, query)
    left_out = cross_val_predict(Ridge(alpha=0.3), train, effects, cv=LeaveOneOut())
    assert found.left_out_error == pytest.approx(np.square(left_out - effects).mean())
    silent = embedding_ridge_effect(np.zeros((12, 1)), effects, features_query=[[0.0]])
    left_out = [np.delete(effects, i, 0).mean(0) for i in range(12)]
    assert silent.left_out_error == pytest.approx(np.square(left_out - effects).mean())
