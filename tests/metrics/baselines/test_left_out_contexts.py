from __future__ import annotations

import numpy as np

from scperturbrl.metrics.baselines.left_out_contexts import error_by_context, left_out_contexts


def table():
    effects = np.arange(4 * 2 * 3, dtype=float).reshape(4, 2, 3)
    effects[:2, 1] = np.nan
    return effects


def test_every_effect_that_was_measured_in_two_other_contexts_is_left_out():
    folds = [(context, p, others.tolist()) for context, p, others in left_out_contexts(table())]
    # the second perturbation was measured in two contexts only
    assert folds == [(0, 0, [1, 2, 3]), (1, 0, [0, 2, 3]), (2, 0, [0, 1, 3]), (3, 0, [0, 1, 2])]


def test_errors_are_summed_over_perturbations():
    effects = np.nan_to_num(table())
    folds = list(left_out_contexts(effects))
    true = [effects[fold.context, fold.perturbation] for fold in folds]
    found = error_by_context(folds, [one + fold.context for one, fold in zip(true, folds, strict=True)], true)
    np.testing.assert_allclose(found, [0, 2 * 3, 2 * 3 * 4, 2 * 3 * 9])
