from __future__ import annotations

import numpy as np

from scperturbrl.metrics.baselines.log_ratios import effect_of, log_ratios


def test_rates_are_multiplied():
    control = np.log1p(np.array([0.0, 1.0, 8.0]))
    doubled = effect_of(np.log(np.full(3, 2.0)), control)
    # a pseudo-rate of .05 is added before and taken off after
    np.testing.assert_allclose(np.expm1(control + doubled), 2 * (np.expm1(control) + 0.05) - 0.05)


def test_there_and_back_again():
    rng = np.random.default_rng(0)
    control = rng.gamma(2.0, size=(5, 7))
    effect = rng.normal(size=(5, 7)).clip(-control)
    np.testing.assert_allclose(effect_of(log_ratios(control, effect), control), effect, atol=1e-12)
