from __future__ import annotations

import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl.screen.interactions import CLASSES, Moments, PairFit, classify, fit_interaction, fit_pair

N, G = 120, 400


def cells(coefficients, *, seed=0, noise=1.0, n=N, extra=0.0):
    """Cells of two parts, of the pair with these coefficients, and controls, with known effects."""
    rng = np.random.default_rng(seed)
    a, b, new = 0.3 * rng.normal(size=(3, G))
    pair = coefficients[0] * a + coefficients[1] * b + extra * new
    return [mean + noise * rng.normal(size=(n, G)) for mean in (a, b, pair, np.zeros(G))]


def moments(populations):
    return [Moments.of(each) for each in populations]


def test_without_noise_it_is_least_squares():
    populations = cells((0.7, 1.2), noise=1e-5)
    control = populations[3].mean(0)
    a, b, pair = (each.mean(0) - control for each in populations[:3])
    expected = np.linalg.lstsq(np.column_stack([a, b]), pair, rcond=None)[0]
    found = fit_pair(moments(populations))
    assert (found.first, found.second) == pytest.approx(tuple(expected), rel=1e-5)
    assert found.similarity == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-5)
    assert found.fit == pytest.approx(1, abs=1e-5)
    assert found.magnitude == pytest.approx(np.hypot(0.7, 1.2), rel=1e-4)
    assert found.dominance == pytest.approx(np.log10(1.2 / 0.7), rel=1e-3)


def test_noise_is_taken_out():
    plain, corrected = [], []
    for seed in range(20):
        populations = cells((1.0, 0.5), seed=seed)
        a, b, pair = (each.mean(0) - populations[3].mean(0) for each in populations[:3])
        plain.append(np.linalg.lstsq(np.column_stack([a, b]), pair, rcond=None)[0])
        found = fit_pair(moments(populations))
        corrected.append([found.first, found.second])
    assert np.abs(np.mean(corrected, 0) - [1.0, 0.5]).max() < 0.02
    assert np.abs(np.mean(plain, 0) - [1.0, 0.5]).max() > 0.05


def test_standard_errors_are_the_spread_over_repeats():
    a, b = 0.3 * np.random.default_rng(0).normal(size=(2, G))
    spread, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        populations = [mean + rng.normal(size=(N, G)) for mean in (a, b, a + 0.5 * b, np.zeros(G))]
        found = fit_pair(moments(populations))
        spread.append([found.first, found.second])
        if seed < 8:
            own = fit_interaction(populations)
            errors.append([own.first_error, own.second_error])
    np.testing.assert_allclose(np.median(errors, axis=0), np.std(spread, axis=0), rtol=0.35)
    low, high = own.interval(1.0, 0.1)
    assert (low, high) == pytest.approx((1 - 0.1729, 1 + 0.1729), abs=1e-3)


def test_nothing_is_told_of_noise():
    found = fit_interaction([np.random.default_rng(i).normal(size=(30, G)) for i in range(4)])
    assert found.kind == "unclear"


@pytest.mark.parametrize(
    ("fit", "kind"),
    [
        (PairFit(1.0, 1.0, 0.95, 0.1, 0.9), "additive"),
        (PairFit(0.5, 0.5, 0.95, 0.1, 0.9), "buffered"),
        (PairFit(1.4, 1.3, 0.95, 0.1, 0.9), "synergistic"),
        (PairFit(1.0, 0.1, 0.95, 0.1, 0.9), "epistatic"),
        (PairFit(0.6, 0.6, 0.5, 0.1, 0.9), "neomorphic"),
        (PairFit(0.9, 0.1, 0.95, 0.9, 0.9), "redundant"),
        (PairFit(1.6, 0.4, 0.95, 0.9, 0.9), "additive"),
        (PairFit(1.0, 1.0, 0.95, 0.1, 0.1), "unclear"),
        (PairFit(np.nan, np.nan, np.nan, np.nan, 0.0), "unclear"),
    ],
)
def test_every_kind(fit, kind):
    assert kind in CLASSES
    assert classify(fit, 0.05) == kind


def test_a_wide_error_is_unclear_unless_the_parts_are_alike():
    assert classify(PairFit(1.0, 1.0, 0.95, 0.1, 0.9), 0.5) == "unclear"
    assert classify(PairFit(1.0, 1.0, 0.95, 0.9, 0.9), 0.5) == "additive"
    assert classify(PairFit(1.0, 1.0, 0.95, 0.1, 0.9), np.nan) == "unclear"


def test_types_of_the_simulator_are_found():
    adata = spr.datasets.simulated_perturbseq(n_genes=600, n_singles=12, n_doubles=20, n_controls=600, seed=3)
    matrix, label = adata.X.toarray(), adata.obs["perturbation"].astype(str).to_numpy()
    right = []
    for name, row in adata.uns["truth"]["interaction"].iterrows():
        keep = ~adata.var_names.isin([row["first"], row["second"]])
        own = [matrix[label == each][:, keep] for each in (row["first"], row["second"], name, "control")]
        right.append(fit_interaction(own).kind == row["type"])
    assert np.mean(right) >= 0.85
