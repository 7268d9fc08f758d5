"""Effects without sampling noise."""

from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl.metrics import denoised_effects


def low_rank(rng, n_conditions=30, n_genes=200, rank=3):
    return rng.normal(size=(n_conditions, rank)) @ rng.normal(size=(rank, n_genes))


def test_denoised_effects_are_closer_to_the_true_ones():
    rng = np.random.default_rng(0)
    true = low_rank(rng)
    noise = rng.uniform(0.5, 2, size=(30, 1)) * rng.uniform(0.2, 5, size=(1, 200))
    measured = true + rng.normal(size=true.shape) * np.sqrt(noise)
    found = denoised_effects(measured, noise)
    assert np.square(found - true).mean() < 0.3 * np.square(measured - true).mean()


def test_effects_of_noise_alone_are_shrunk_to_less_than_half():
    rng = np.random.default_rng(1)
    measured = rng.normal(size=(30, 200))
    assert np.square(denoised_effects(measured, np.ones_like(measured))).mean() < 0.25


def test_values_that_share_nothing_are_shrunk_by_empirical_bayes():
    # a few strong values in single genes are no common direction, and are kept
    rng = np.random.default_rng(2)
    true = np.zeros((40, 400))
    true[np.arange(40), rng.permutation(400)[:40]] = 8
    measured = true + rng.normal(size=true.shape)
    found = denoised_effects(measured, np.ones_like(true))
    assert np.square(found - true).mean() < 0.5 * np.square(measured - true).mean()
    assert np.corrcoef(found[true > 0], measured[true > 0])[0, 1] > 0.5


def test_values_lie_between_the_common_part_and_what_was_measured():
    # independent oracle: the optimal shrinker for squared error, one singular value at a time (Gavish & Donoho 2017, eq. 7)
    rng = np.random.default_rng(3)
    measured = 3 * low_rank(rng, 20, 500, 1) + rng.normal(size=(20, 500))
    beta = 20 / 500
    u, s, vt = np.linalg.svd(measured, full_matrices=False)
    common = np.zeros_like(measured)
    for i, value in enumerate(s):
        y = value / np.sqrt(500)
        if y >= 1 + np.sqrt(beta):
            common += np.sqrt(500) * np.sqrt((y**2 - beta - 1) ** 2 - 4 * beta) / y * np.outer(u[:, i], vt[i])
    share = (denoised_effects(measured, np.ones_like(measured)) - common) / (measured - common)
    assert (share > -1e-6).all()
    assert (share < 1).all()
    assert share.mean() < 0.5


def test_conditions_of_few_cells_are_not_trusted():
    # a gene that is 0 in all of three cells has no variance there, which is no evidence for its effect
    rng = np.random.default_rng(10)
    mean = rng.gamma(0.5, 1, 500)
    control = np.log1p(rng.poisson(mean, (1000, 500)))
    cells = np.log1p(rng.poisson(mean, (100, 3, 500)))
    effects = cells.mean(1) - control.mean(0)
    noise = cells.var(1, ddof=1) / 3 + control.var(0, ddof=1) / 1000
    assert np.square(denoised_effects(effects, noise)).mean() < 0.25 * np.square(effects).mean()


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_units_do_not_matter(factor):
    rng = np.random.default_rng(4)
    measured, noise = low_rank(rng) + rng.normal(size=(30, 200)), rng.uniform(0.5, 2, size=(30, 200))
    found = denoised_effects(factor * measured, factor**2 * noise)
    np.testing.assert_allclose(found, factor * denoised_effects(measured, noise), rtol=1e-3, atol=1e-3 * factor)


def test_order_of_conditions_and_genes_does_not_matter():
    rng = np.random.default_rng(5)
    measured, noise = low_rank(rng) + rng.normal(size=(30, 200)), rng.uniform(0.5, 2, size=(30, 200))
    rows, columns = rng.permutation(30), rng.permutation(200)
    found = denoised_effects(measured[rows][:, columns], noise[rows][:, columns])
    np.testing.assert_allclose(found, denoised_effects(measured, noise)[rows][:, columns], atol=1e-8)


def test_large_screens_take_the_largest_directions_alone(monkeypatch):
    rng = np.random.default_rng(8)
    measured, noise = low_rank(rng, 60, 200) + rng.normal(size=(60, 200)), np.ones((60, 200))
    exact = denoised_effects(measured, noise)
    monkeypatch.setattr("scperturbrl.metrics.baselines.denoised._MOST_EXACT", 10)
    np.testing.assert_allclose(denoised_effects(measured, noise), exact, atol=1e-3)


def test_without_noise_nothing_changes():
    measured = np.random.default_rng(6).normal(size=(4, 9))
    np.testing.assert_array_equal(denoised_effects(measured, np.zeros((4, 9))), measured)


def test_a_single_condition_is_shrunk_too():
    rng = np.random.default_rng(9)
    true = rng.normal(size=(1, 300)) * (rng.random(300) < 0.2) * 3
    measured = true + rng.normal(size=true.shape)
    found = denoised_effects(measured, np.ones_like(true))
    assert np.square(found - true).mean() < 0.8 * np.square(measured - true).mean()


def test_genes_that_are_never_measured_stay_zero():
    measured, noise = np.zeros((5, 20)), np.zeros((5, 20))
    measured[:, :10] = np.random.default_rng(7).normal(size=(5, 10))
    noise[:, :10] = 1
    found = denoised_effects(measured, noise)
    assert (found[:, 10:] == 0).all()
    assert np.isfinite(found).all()


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        denoised_effects(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="at least 0"):
        denoised_effects(np.zeros((2, 3)), np.full((2, 3), -1.0))
    with pytest.raises(ValueError, match="finite"):
        denoised_effects(np.full((2, 3), np.nan), np.ones((2, 3)))


def test_it_is_public():
    assert spr.metrics.denoised_effects is denoised_effects
