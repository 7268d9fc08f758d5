from __future__ import annotations

import numpy as np

from scperturbrl.metrics import ContextLine, context_ridge_effect
from scperturbrl.metrics.baselines.context_transfer import transferred_effect

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


def test_the_effect_of_a_single_context_is_taken_over():
    controls, effects, query = contexts(1)
    np.testing.assert_allclose(transferred_effect(LINE, controls, effects, query), effects[0])
