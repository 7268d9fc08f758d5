from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from scperturbrl.metrics import energy_distance, l2, mae, mmd_rbf, mse, pearson_delta
from scperturbrl.metrics.cells import distribution


@pytest.fixture(scope="module")
def distance():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pertpy.tools import Distance
    return Distance


@pytest.fixture
def populations():
    rng = np.random.default_rng(0)
    return rng.gamma(2.0, size=(25, 10)), rng.gamma(1.0, size=(40, 10))


def test_energy_distance_without_the_self_pairs_of_pertpy(distance, populations):
    x, y = populations
    self_pairs = pdist(x).mean() / len(x) + pdist(y).mean() / len(y)
    assert energy_distance(x, y) == pytest.approx(distance("edistance")(x, y) - self_pairs, rel=1e-9)


@pytest.mark.parametrize(("name", "metric"), [("euclidean", l2), ("mse", mse), ("mean_absolute_error", mae)])
def test_errors_of_mean_profiles(distance, populations, name, metric):
    x, y = populations
    assert metric(x.mean(axis=0), y.mean(axis=0)) == pytest.approx(float(distance(name)(x, y)), rel=1e-9)


def test_pearson(distance, populations):
    x, y = populations
    ours = pearson_delta(x.mean(axis=0), y.mean(axis=0), reference_mean=np.zeros(10))
    assert ours == pytest.approx(1 - float(distance("pearson_distance")(x, y)), rel=1e-9)


def test_mmd_without_the_self_pairs_of_pertpy(distance, populations, monkeypatch):
    x, y = populations
    gamma = 1 / (2 * 1.7 * np.median(pdist(y, "sqeuclidean")))
    monkeypatch.setattr(distribution, "_WIDEST", 1.7)
    monkeypatch.setattr(distribution, "_N_WIDTHS", 1)
    theirs = float(distance("mmd")(x, y, kernel="rbf", gamma=gamma))
    # a cell's kernel with itself is 1
    within = lambda cells: np.exp(-gamma * pdist(cells, "sqeuclidean")).mean()
    self_pairs = (1 - within(x)) / len(x) + (1 - within(y)) / len(y)
    assert mmd_rbf(x, y) == pytest.approx(theirs - self_pairs, abs=1e-9)
