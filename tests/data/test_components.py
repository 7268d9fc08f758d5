from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from scperturbrl.data import components
from scperturbrl.data.cells import Cells


@pytest.mark.parametrize("many", [4000, 10])
def test_components_are_those_of_sklearn(ready_toy, monkeypatch, many):
    monkeypatch.setattr(components, "_MANY_GENES", many)
    monkeypatch.setattr(components, "_ROWS", 50)
    cells = Cells.of(ready_toy)
    block = cells.block(np.flatnonzero(cells.is_training())).astype(np.float64)
    expected = PCA(6, svd_solver="full").fit(block).components_
    found = components.training_components(cells, n_components=6)
    np.testing.assert_allclose(np.abs(np.sum(found.T * expected, axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(found.T @ found, np.eye(6), atol=1e-4)


def test_a_sample_of_the_cells_is_near(ready_toy, monkeypatch):
    cells = Cells.of(ready_toy)
    full = components.training_components(cells, n_components=2)
    monkeypatch.setattr(components, "_MOST_CELLS", 300)
    sample = components.training_components(cells, n_components=2)
    assert np.linalg.svd(full.T @ sample, compute_uv=False).min() > 0.7
