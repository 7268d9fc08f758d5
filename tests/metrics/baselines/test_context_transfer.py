from __future__ import annotations

import numpy as np

from scperturbrl.metrics import ContextLine, context_ridge_effect, fit_context_line
from scperturbrl.metrics.baselines.context_transfer import fit_transfer_line, transferred_effect

LINE = ContextLine(1.0, "log_ratio", 0.8, 0.5)


def contexts(n):
    rng = np.random.default_rng(0)
    controls = rng.gamma(2.0, 0.5, size=(n, 20))
    return controls, rng.normal(scale=0.2, size=(n, 20)).clip(-controls), rng.gamma(2.0, 0.5, size=20)


def test_it_is_halfway_between_line_and_ridge():
    controls, effects, query = contexts(5)
    line = LINE.predict(controls, effects, control_query=query)
    ridge = context_ridge_effect(controls, effects, control_query=query)
    np.testing.assert_allclose(transferred_effect(LINE, controls, effects, query), (line + ridge) / 2)


def scaled(controls, factor):
    """Effects of rates that are `factor` times as high, at any control level."""
    return np.log1p(factor * np.expm1(controls)) - controls


def far(found, true):
    return np.square(found - true).sum()


def test_from_a_single_context_rates_change_by_the_same_factor():
    controls, _, query = contexts(1)
    factor = np.random.default_rng(1).uniform(0.3, 3.0, size=20)
    effects = scaled(controls, factor)
    assert far(transferred_effect(LINE, controls, effects, query), scaled(query, factor)) < 0.3 * far(
        effects[0], scaled(query, factor)
    )


def test_log_ratios_are_averaged_where_no_line_can_be_chosen():
    controls, _, query = contexts(2)
    factor = np.random.default_rng(1).uniform(0.3, 3.0, size=20)
    effects = scaled(controls, factor)
    line = fit_transfer_line(controls, effects[:, None])
    assert np.isnan(line.error)
    found = line.predict(controls, effects, control_query=query)
    assert far(found, scaled(query, factor)) < 0.3 * far(effects.mean(0), scaled(query, factor))


def test_with_enough_contexts_it_is_the_context_line():
    controls, effects, _ = contexts(5)
    assert fit_transfer_line(controls, effects[:, None])[:3] == fit_context_line(controls, effects[:, None])[:3]
