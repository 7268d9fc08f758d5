from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from sklearn.metrics.pairwise import rbf_kernel

from scperturbrl.metrics import classifier_auroc, energy_distance, mean_pairwise_distance, mmd_rbf
from scperturbrl.metrics.cells import distribution

seeds = st.integers(0, 2**32 - 1)


def populations(seed: int, n: int = 30, m: int = 45, shift: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.0, (n, 6)), rng.normal(0.0, 1.0, (m, 6))


def brute_energy(x: np.ndarray, y: np.ndarray) -> float:
    return 2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean()


def brute_mmd(x: np.ndarray, y: np.ndarray) -> float:
    median = np.median(pdist(y) ** 2)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return sum(rbf_kernel(a, b, gamma=1 / (2 * scale * median)) for scale in (0.5, 1, 2, 4)) / 4

    def off_diagonal(k: np.ndarray) -> float:
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    return off_diagonal(kernel(x, x)) + off_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean()


@pytest.mark.parametrize("tile", [1, 7, 256])
def test_energy_and_mmd_match_brute_force_for_any_block(monkeypatch, tile):
    monkeypatch.setattr(distribution, "_TILE", tile)
    x, y = populations(0)
    assert energy_distance(x, y) == pytest.approx(brute_energy(x, y), rel=1e-10)
    assert mmd_rbf(x, y) == pytest.approx(brute_mmd(x, y), rel=1e-8)
    assert mean_pairwise_distance(x) == pytest.approx(pdist(x).mean(), rel=1e-12)
    assert mean_pairwise_distance(x, y) == pytest.approx(cdist(x, y).mean(), rel=1e-12)


def test_energy_in_one_dimension_matches_scipy():
    x, y = (part[:, :1] for part in populations(1))
    n, m = len(x), len(y)
    # scipy takes the root of the estimate that pairs every cell with itself as well.
    self_pairs = pdist(x).mean() / n + pdist(y).mean() / m
    expected = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2 - self_pairs
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_what_is_known_of_the_second_population_is_not_computed_again(monkeypatch):
    x, y = populations(2)
    known = mean_pairwise_distance(y)
    expected = energy_distance(x, y)
    seen = []
    within = distribution._mean_within
    monkeypatch.setattr(
        distribution,
        "_mean_within",
        lambda cells, *args, **named: seen.append(len(cells)) or within(cells, *args, **named),
    )
    assert energy_distance(x, y, within_y=known) == expected
    assert seen == [len(x)]


def test_distances_of_single_precision_far_from_the_origin_are_scipys():
    x, y = (part.astype(np.float32) + 1000 for part in populations(3))
    assert energy_distance(x, y) == pytest.approx(brute_energy(x, y), abs=1e-9)


def test_few_distances_are_in_memory_at_a_time():
    cells = np.random.default_rng(2).normal(size=(3000, 2))
    tracemalloc.start()
    try:
        energy_distance(cells, cells + 1)
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


def test_copies_of_a_cell_are_at_no_distance():
    copies = np.tile(np.random.default_rng(0).normal(3, 1, (1, 40)), (30, 1))
    assert mean_pairwise_distance(copies) == pytest.approx(0, abs=1e-6)


@given(seed=seeds, shift=st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_invariances(seed, shift):
    x, y = populations(seed, n=12, m=15)
    energy, mmd = energy_distance(x, y), mmd_rbf(x, y)
    assert energy_distance(y, x) == pytest.approx(energy, abs=1e-9)
    rotation = scipy.stats.special_ortho_group.rvs(6, random_state=seed)
    assert energy_distance(x @ rotation + shift, y @ rotation + shift) == pytest.approx(energy, abs=1e-8)
    assert mmd_rbf(x @ rotation + shift, y @ rotation + shift) == pytest.approx(mmd, abs=1e-8)
    assert energy_distance(3 * x, 3 * y) == pytest.approx(3 * energy, abs=1e-9)
    assert mmd_rbf(3 * x, 3 * y) == pytest.approx(mmd, abs=1e-9)


@pytest.mark.parametrize("metric", [energy_distance, mmd_rbf])
def test_unbiased_for_equal_populations(metric):
    null = np.array([metric(*populations(seed, n=20, m=20, shift=0.0)) for seed in range(300)])
    assert (null < 0).any()
    assert abs(null.mean()) < 4 * null.std() / math.sqrt(len(null))
    assert metric(*populations(0, shift=1.0)) > null.max()


def test_energy_sees_collapse_and_explosion():
    rng = np.random.default_rng(3)
    real, like = rng.normal(size=(2, 200, 6))
    for factor in (0.0, 0.5, 2.0):
        assert energy_distance(factor * like, real) > 3 * abs(energy_distance(like, real))


@pytest.mark.parametrize("metric", [energy_distance, mmd_rbf, classifier_auroc])
@pytest.mark.parametrize("n", [0, 1])
def test_too_few_cells_are_nan(metric, n):
    x, y = populations(4)
    assert math.isnan(metric(x[:n], y))
    assert math.isnan(metric(x, y[:n]))


def test_mmd_without_bandwidth_is_nan():
    x, y = populations(5)
    assert math.isnan(mmd_rbf(x, np.zeros_like(y)))


def test_mmd_of_many_cells_takes_the_median_of_some():
    x, y = populations(6, n=50, m=1600)
    assert mmd_rbf(x, y) == pytest.approx(brute_mmd(x, y), rel=0.05)


def test_auroc_finds_what_differs_and_nothing_else():
    same = [classifier_auroc(*populations(seed, n=60, m=60, shift=0.0), seed=seed) for seed in range(20)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.06)
    x, y = populations(7, n=60, m=60, shift=8.0)
    assert classifier_auroc(x, y) == 1
    x, y = populations(8, n=3, m=60, shift=8.0)
    assert classifier_auroc(x, y) == 1


def test_auroc_of_one_feature_is_the_rank_statistic():
    x, y = (part[:, :1] for part in populations(9, n=500, m=500, shift=1.0))
    expected = scipy.stats.mannwhitneyu(x[:, 0], y[:, 0]).statistic / (500 * 500)
    assert classifier_auroc(x, y) == pytest.approx(expected, abs=0.01)
    assert classifier_auroc(x, y, seed=1) == classifier_auroc(x, y, seed=1) != classifier_auroc(x, y, seed=2)


def test_different_genes_are_refused():
    x, y = populations(10)
    for metric in (energy_distance, mmd_rbf, classifier_auroc):
        with pytest.raises(ValueError, match="dense"):
            metric(x[:, :5], y)
