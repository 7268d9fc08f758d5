from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from scperturbrl.metrics import context_ridge_effect

G = 30


@pytest.fixture
def contexts():
    rng = np.random.default_rng(0)
    controls = rng.gamma(2.0, 0.5, size=(6, G))
    return controls, rng.normal(scale=0.3, size=(6, G)).clip(-controls), rng.gamma(2.0, 0.5, size=G)


@pytest.mark.parametrize("penalty", [0.3, 1.0, 5.0])
def test_it_is_the_ridge_of_log_ratios_on_control_profiles(contexts, penalty):
    controls, effects, query = contexts
    rate = np.expm1(controls) + 0.05
    ratio = np.log((np.expm1(controls + effects) + 0.05) / rate)
    eigenvalues = np.linalg.eigvalsh((controls - controls.mean(0)) @ (controls - controls.mean(0)).T)
    ridge = Ridge(alpha=penalty * eigenvalues.mean()).fit(controls, ratio)
    wanted = np.log1p(((np.expm1(query) + 0.05) * np.exp(ridge.predict(query[None])[0]) - 0.05).clip(min=0)) - query
    found = context_ridge_effect(controls, effects, control_query=query, penalty=penalty)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_a_context_between_two_kinds_gets_an_effect_between_them():
    controls = np.array([[3.0, 1.0], [1.0, 3.0]])
    effects = np.log1p(np.expm1(controls) * np.exp([[1.0, 0.0], [0.0, 0.0]])) - controls
    sizes = []
    for share in (0.0, 0.5, 1.0):
        query = share * controls[0] + (1 - share) * controls[1]
        found = context_ridge_effect(controls, effects, control_query=query, penalty=1e-3)
        sizes.append(np.log(np.expm1(query + found) / np.expm1(query))[0])
    assert np.diff(sizes).min() > 0.4
    assert abs(sizes[0]) < 0.05 < 0.9 < sizes[2]


def test_the_order_of_contexts_does_not_matter(contexts):
    controls, effects, query = contexts
    order = np.random.default_rng(1).permutation(len(controls))
    found = context_ridge_effect(controls[order], effects[order], control_query=query)
    np.testing.assert_allclose(found, context_ridge_effect(controls, effects, control_query=query))


def test_equal_control_profiles_give_the_mean_of_the_log_ratios(contexts):
    controls, effects, _ = contexts
    same = np.repeat(controls[:1], 3, axis=0)
    found = context_ridge_effect(same, np.repeat(effects[:1], 3, axis=0), control_query=controls[0])
    np.testing.assert_allclose(found, effects[0])


def test_shapes_values_and_penalty_are_checked(contexts):
    controls, effects, query = contexts
    with pytest.raises(ValueError, match="do not fit"):
        context_ridge_effect(controls, effects[:-1], control_query=query)
    with pytest.raises(ValueError, match="do not fit"):
        context_ridge_effect(controls, np.where(effects > 0, np.nan, effects), control_query=query)
    with pytest.raises(ValueError, match="penalty=0"):
        context_ridge_effect(controls, effects, control_query=query, penalty=0)
