from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from scperturbrl.metrics import combination_ridge_effect, ridge_effect


def screen(seed: int, additivity: float, *, spread: float = 0.0, noise: float = 0.1):
    """Ten singles, twenty doubles with a share of their sum each, and five doubles to predict."""
    rng = np.random.default_rng(seed)
    pairs = np.stack([np.isin(np.arange(10), rng.choice(10, 2, replace=False)) for _ in range(25)]).astype(float)
    parts = rng.normal(size=(10, 30))
    share = additivity * rng.lognormal(0.0, spread, (20, 1)) if spread else additivity
    design = np.vstack([np.eye(10), pairs[:20]])
    effects = np.vstack([parts, share * pairs[:20] @ parts]) + rng.normal(0, noise, (30, 30))
    return design, effects, pairs[20:], additivity * pairs[20:] @ parts


@pytest.mark.parametrize("additivity", [0.4, 0.7, 1.0])
def test_finds_the_additivity_and_predicts_better_than_a_sum(additivity):
    design, effects, query, truth = screen(0, additivity)
    found = combination_ridge_effect(design, effects, design_query=query)
    # two combinations' worth of evidence stand for 1, beside twenty
    assert found.additivity == pytest.approx((20 * additivity + 2) / 22, abs=0.03)
    plain = ridge_effect(design, effects, design_query=query).effect
    assert np.square(found.effect - truth).sum() <= 1.05 * np.square(plain - truth).sum()
    if additivity < 1:
        assert np.square(found.effect - truth).sum() < 0.75 * np.square(plain - truth).sum()


def test_matches_sklearn_with_scaled_rows_and_sample_weights():
    design, effects, query, _ = screen(1, 0.6, spread=0.5)
    found = combination_ridge_effect(design, effects, design_query=query, trusts=[0.3])
    assert found.trust == 0.3
    several = design.sum(1) > 1
    weights = np.where(several, 0.3, 1.0)
    scaled = np.where(several, found.additivity, 1.0)[:, None] * design
    model = Ridge(alpha=found.alpha, fit_intercept=False).fit(scaled, effects, sample_weight=weights / weights.mean())
    np.testing.assert_allclose(found.effect, model.predict(found.additivity * query), atol=1e-8)


def test_combinations_that_differ_are_trusted_less():
    trusts = [np.median([fit(seed, spread) for seed in range(7)]) for spread in (0.0, 1.0)]
    assert trusts[1] < trusts[0]


def fit(seed: int, spread: float) -> float:
    design, effects, query, _ = screen(seed, 1.0, spread=spread, noise=1.0)
    return combination_ridge_effect(design, effects, design_query=query).trust


def test_without_combinations_it_is_the_additive_ridge():
    design, effects, query, _ = screen(2, 0.5)
    found = combination_ridge_effect(design[:10], effects[:10], design_query=query)
    np.testing.assert_array_equal(found.effect, ridge_effect(design[:10], effects[:10], design_query=query).effect)
    assert (found.additivity, found.trust) == (1.0, 1.0)


def test_without_combinations_it_can_be_told_how_much_they_do():
    design, effects, query, _ = screen(2, 0.5)
    add_up, told = (
        combination_ridge_effect(design[:10], effects[:10], design_query=query, otherwise=x) for x in (1.0, 0.5)
    )
    np.testing.assert_allclose(told.effect, 0.5 * add_up.effect)
    assert told.additivity == 0.5
    with_them = combination_ridge_effect(design, effects, design_query=query)
    again = combination_ridge_effect(design, effects, design_query=query, otherwise=0.1)
    np.testing.assert_array_equal(again.effect, with_them.effect)


def test_with_combinations_alone_it_can_say_what_they_have_in_common():
    design, effects, query, _ = screen(3, 0.5)
    found = combination_ridge_effect(design[10:], effects[10:], design_query=query)
    assert np.isfinite(found.effect).all()
    assert 0.1 <= found.additivity <= 1


@pytest.mark.parametrize("seed", [10, *range(5)])
def test_combinations_of_parts_that_nothing_else_has_say_nothing_of_additivity(seed):
    rng = np.random.default_rng(seed)
    design = np.zeros((15, 20))
    design[:10, :10] = np.eye(10)
    for i in range(5):
        design[10 + i, 10 + 2 * i : 12 + 2 * i] = 1
    found = combination_ridge_effect(design, rng.normal(size=(15, 30)), design_query=design)
    assert found.additivity == 1


def test_effects_of_nothing_are_nothing():
    design, _, query, _ = screen(4, 0.5)
    found = combination_ridge_effect(design, np.zeros((30, 3)), design_query=query)
    assert (found.effect == 0).all()
    assert found.additivity == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), additivity=st.floats(0.2, 1.5), factor=st.floats(0.1, 10))
def test_never_magnifies_and_does_not_depend_on_the_unit(seed, additivity, factor):
    design, effects, query, _ = screen(seed, additivity, noise=0.5)
    found = combination_ridge_effect(design, effects, design_query=query)
    scaled = combination_ridge_effect(design, factor * effects, design_query=query)
    assert 0.1 <= found.additivity <= 1
    assert scaled.additivity == pytest.approx(found.additivity)
    np.testing.assert_allclose(scaled.effect, factor * found.effect, atol=1e-8 * factor)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"trusts": [0.0]}, "`trusts`"), ({"trusts": []}, "`trusts`"), ({"design_query": [[1.0]]}, "do not fit")],
)
def test_refuses_what_it_cannot_use(change, message):
    design, effects, query, _ = screen(5, 0.5)
    with pytest.raises(ValueError, match=message):
        combination_ridge_effect(design, effects, **({"design_query": query} | change))
