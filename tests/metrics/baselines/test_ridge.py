from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from scperturbrl.metrics import ridge_effect


def screen(seed: int, n_conditions: int = 40, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    design = (rng.random((n_conditions, 8)) < 0.3).astype(float)
    parts = rng.normal(size=(8, 12))
    query = (rng.random((9, 8)) < 0.3).astype(float)
    return design, design @ parts + rng.normal(0, noise, (n_conditions, 12)), query


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.01, 1.0, 30.0])
def test_matches_sklearn(weighted, alpha):
    design, effects, query = screen(0)
    weights = np.random.default_rng(1).uniform(1, 50, len(design)) if weighted else None
    fitted = ridge_effect(design, effects, design_query=query, weights=weights, alphas=[alpha])
    scaled = None if weights is None else weights / weights.mean()
    expected = Ridge(alpha=alpha, fit_intercept=False).fit(design, effects, sample_weight=scaled).predict(query)
    np.testing.assert_allclose(fitted.effect, expected, atol=1e-8)
    assert fitted.alpha == alpha


@pytest.mark.parametrize("noise", [0.01, 1.0, 5.0, 20.0])
def test_chooses_the_penalty_of_ridge_cv(noise):
    design, effects, query = screen(2, noise=noise)
    alphas = np.logspace(-3, 3, 13)
    expected = RidgeCV(alphas=alphas, fit_intercept=False).fit(design, effects).alpha_
    assert ridge_effect(design, effects, design_query=query, alphas=alphas).alpha == pytest.approx(expected)


def test_chooses_the_penalty_of_refitting_without_each_condition():
    design, effects, query = screen(3, n_conditions=15, noise=4.0)
    weights = np.random.default_rng(4).uniform(1, 20, len(design))
    alphas = [0.03, 0.3, 3.0, 30.0]
    scaled = np.sqrt(weights / weights.mean())[:, None]
    errors = []
    for alpha in alphas:
        model = Ridge(alpha=alpha, fit_intercept=False)
        left_out = cross_val_predict(model, scaled * design, scaled * effects, cv=LeaveOneOut())
        errors.append(np.square(left_out - scaled * effects).mean())
    fitted = ridge_effect(design, effects, design_query=query, weights=weights, alphas=alphas)
    assert fitted.alpha == alphas[int(np.argmin(errors))]


@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_effects_are_those_of_refitting_without_each_condition(weighted):
    design, effects, query = screen(7, n_conditions=15)
    weights = np.random.default_rng(4).uniform(1, 20, len(design)) if weighted else None
    fitted = ridge_effect(design, effects, design_query=query, weights=weights, alphas=[0.5])
    scaled = np.ones(len(design)) if weights is None else weights / weights.mean()
    for i in range(len(design)):
        others = np.arange(len(design)) != i
        model = Ridge(alpha=0.5, fit_intercept=False).fit(design[others], effects[others], sample_weight=scaled[others])
        np.testing.assert_allclose(fitted.left_out[i], model.predict(design[i : i + 1])[0], atol=1e-8)


def test_noise_raises_the_penalty():
    chosen = [ridge_effect(*screen(5, noise=noise)[:2], design_query=np.eye(8)).alpha for noise in (0.01, 2.0, 30.0)]
    assert chosen[0] < chosen[1] < chosen[2]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_vanishing_penalty_recovers_additive_effects(seed):
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(5, 6))
    design = np.concatenate([np.eye(5), rng.integers(0, 2, (6, 5))])
    query = rng.integers(0, 2, (7, 5))
    fitted = ridge_effect(design, design @ parts, design_query=query, alphas=[1e-9])
    np.testing.assert_allclose(fitted.effect, query @ parts, atol=1e-6)


def test_nothing_known_means_no_effect():
    design, effects, _ = screen(6)
    design[:, 0] = 0
    fitted = ridge_effect(design, effects, design_query=[[0] * 8, [1] + [0] * 7])
    np.testing.assert_allclose(fitted.effect, 0, atol=1e-12)


def test_scale_of_weights_does_not_matter():
    design, effects, query = screen(7)
    weights = np.random.default_rng(8).uniform(1, 20, len(design))
    one, other = (
        ridge_effect(design, effects, design_query=query, weights=factor * weights).effect for factor in (1, 100)
    )
    np.testing.assert_allclose(one, other)


def test_penalty_lost_in_rounding_does_not_break_the_choice():
    fitted = ridge_effect(np.eye(3), np.ones((3, 2)), design_query=np.eye(3), alphas=[1e-20, 1.0])
    assert np.isfinite(fitted.effect).all()


def test_wrong_input_is_refused():
    design, effects, query = screen(9)
    with pytest.raises(ValueError, match="`alphas` must be"):
        ridge_effect(design, effects, design_query=query, alphas=[0.0, 1.0])
    with pytest.raises(ValueError, match="`alphas` must be"):
        ridge_effect(design, effects, design_query=query, alphas=[])
    with pytest.raises(ValueError, match="`weights` has 3 values for 40"):
        ridge_effect(design, effects, design_query=query, weights=[1.0, 2.0, 3.0])


def test_single_parts_are_looked_up_with_the_same_bits():
    design, effects, _ = screen(3)
    parts = np.vstack([np.eye(8) * 0.7, np.zeros((1, 8))])
    found = ridge_effect(design, effects, design_query=parts, alphas=[0.5]).effect
    # a row with several parts makes it a product
    both = ridge_effect(design, effects, design_query=np.vstack([parts, np.ones((1, 8))]), alphas=[0.5]).effect
    np.testing.assert_array_equal(found, both[:-1])
