from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from scperturbrl.metrics import neighbour_scores
from scperturbrl.metrics.cells import neighbours


def by_sklearn(x, y, k):
    reach = lambda cells: NearestNeighbors(n_neighbors=k + 1).fit(cells).kneighbors(cells)[0][:, k]
    reach_x, reach_y = reach(x), reach(y)
    distance = np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))
    return (
        (distance <= reach_y).any(1).mean(),
        (distance <= reach_x[:, None]).any(0).mean(),
        (distance.min(0) <= reach_y).mean(),
    )


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_matches_brute_force(k, shift, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 200)
    rng = np.random.default_rng(0)
    x, y = rng.normal(shift, 1, (70, 4)), rng.normal(0, 1, (90, 4))
    assert tuple(neighbour_scores(x, y, k=k)) == pytest.approx(by_sklearn(x, y, k), abs=1e-12)


def test_copies_are_perfect_and_strangers_are_nothing():
    cells = np.random.default_rng(0).normal(size=(30, 3))
    assert neighbour_scores(cells, cells) == (1, 1, 1)
    assert neighbour_scores(cells + 100, cells) == (0, 0, 0)


def test_half_of_the_population_is_half_recalled():
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(0, 1, (100, 3)), rng.normal(50, 1, (100, 3))])
    scores = neighbour_scores(rng.normal(0, 1, (100, 3)), real)
    assert scores.precision > 0.9
    assert 0.4 < scores.recall <= 0.5
    assert 0.4 < scores.coverage <= 0.5


def test_too_few_cells_are_nan():
    assert np.isnan(neighbour_scores(np.zeros((5, 2)), np.ones((9, 2)), k=5)).all()


def test_a_reach_of_no_neighbour_is_refused():
    with pytest.raises(ValueError, match="at least one neighbour"):
        neighbour_scores(np.zeros((5, 2)), np.ones((9, 2)), k=0)
