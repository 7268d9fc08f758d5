from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import LinearRegression

from scperturbrl.metrics import interaction_correlation, interaction_residual


@pytest.fixture
def effects():
    rng = np.random.default_rng(0)
    parts, interaction = rng.normal(size=(2, 50)), rng.normal(size=50)
    return parts, parts.sum(0) + interaction, 0.8 * parts.sum(0) + interaction + rng.normal(size=50)


def test_residuals(effects):
    parts, observed, _ = effects
    np.testing.assert_allclose(interaction_residual(observed, parts), observed - parts[0] - parts[1])
    model = LinearRegression(fit_intercept=False).fit(parts.T, observed)
    fitted = interaction_residual(observed, parts, fitted=True)
    np.testing.assert_allclose(fitted, observed - model.predict(parts.T), atol=1e-9)


def test_correlation_matches_scipy(effects):
    parts, observed, predicted = effects
    expected = pearsonr(predicted - parts.sum(0), observed - parts.sum(0)).statistic
    assert interaction_correlation(predicted, observed, parts=parts) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("fitted", [False, True])
def test_an_additive_prediction_says_nothing(effects, fitted):
    parts, observed, _ = effects
    assert np.isnan(interaction_correlation(parts.sum(0), observed, parts=parts, fitted=fitted))


def test_no_effect_looks_like_an_interaction_only_without_the_fit(effects):
    parts, _, _ = effects
    buffered = 0.5 * parts.sum(0)
    assert interaction_correlation(np.zeros(50), buffered, parts=parts) == pytest.approx(1)
    assert np.isnan(interaction_correlation(np.zeros(50), buffered, parts=parts, fitted=True))


def test_misfits_are_refused(effects):
    with pytest.raises(ValueError, match="do not fit"):
        interaction_residual(effects[1], effects[0][:, :-1])
