from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.metrics import ContextLine, fit_context_line

G = 40


def two_kinds(rng, n=4, noise=0.02):
    """Contexts of two kinds; a perturbation acts in one of them alone."""
    kind = np.repeat([0.0, 1.0], n)[:, None]
    controls = 2 + kind * rng.normal(size=G) + noise * rng.normal(size=(2 * n, G))
    return controls, kind * rng.normal(size=G) + noise * rng.normal(size=(2 * n, G))


def test_alike_contexts_count_more():
    controls, effects = two_kinds(np.random.default_rng(0))
    line = fit_context_line(controls[:-1], effects[:-1, None])
    assert line.width < np.inf
    assert line.share > 0.8
    assert line.error < 0.1
    found = line.predict(controls[:-1], effects[:-1], control_query=controls[-1])
    plain = effects[:-1].mean(0)
    assert np.square(found - effects[-1]).sum() < 0.1 * np.square(plain - effects[-1]).sum()


def test_where_contexts_do_not_matter_it_is_the_mean_shift():
    rng = np.random.default_rng(1)
    controls, effects = 2 + rng.normal(size=(6, G)), rng.normal(size=G) + 0.3 * rng.normal(size=(6, G))
    line = fit_context_line(controls, effects[:, None])
    assert line.share == 0
    np.testing.assert_allclose(line.predict(controls, effects, control_query=controls[0]), effects.mean(0))


def test_rates_that_are_multiplied_are_told_from_sums():
    rng = np.random.default_rng(2)
    rates, fold = rng.gamma(0.5, 4.0, size=(7, G)), np.exp(rng.normal(size=G))
    controls = np.log1p(rates)
    effects = np.log1p(rates * fold) - controls
    line = fit_context_line(controls[1:], effects[1:, None])
    assert line.scale == "log_ratio"
    found = line.predict(controls[1:], effects[1:], control_query=controls[0])
    assert np.square(found - effects[0]).mean() < 0.3 * np.square(effects[1:].mean(0) - effects[0]).mean()


def test_the_kernel_is_the_gaussian_in_units_of_the_nearest_distance():
    controls, effects = np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [3.0, 4.0]])
    found = ContextLine(1.0, "difference", 1.0, 0.5).predict(controls, effects, control_query=[0.0, 0.0])
    weight = np.exp([-0.5, -2.0])
    np.testing.assert_allclose(found, weight / weight.sum() @ effects)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_contexts_give_the_mean_shift(n):
    rng = np.random.default_rng(3)
    line = fit_context_line(rng.normal(size=(n, G)), rng.normal(size=(n, 1, G)))
    assert (line.share, line.scale) == (0, "difference")
    assert np.isnan(line.error)


def test_contexts_without_a_perturbation_are_left_out_for_it():
    controls, effects = two_kinds(np.random.default_rng(4))
    table = np.stack([effects, effects], 1)
    table[2, 1] = np.nan
    line = fit_context_line(controls, table)
    assert np.isfinite(line.error)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        fit_context_line(np.zeros((3, 4)), np.zeros((3, 1, 5)))
    with pytest.raises(ValueError, match="do not fit"):
        fit_context_line(np.full((3, 4), np.nan), np.zeros((3, 1, 4)))
