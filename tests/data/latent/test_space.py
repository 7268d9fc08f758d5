from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.latent import space as module
from scperturbrl.data.latent.space import fit_space


@pytest.mark.parametrize("most", [0, 4000])
def test_components_are_those_of_pca_from_the_covariance_and_from_the_cells(ready_toy, monkeypatch, most):
    monkeypatch.setattr(module, "MOST_IN_COVARIANCE", most)
    cells = Cells.of(ready_toy)
    rows = np.flatnonzero(cells.is_training())
    found = fit_space("pca", 10, cells, rows, seed=0, device="cpu")
    expected = PCA(10, svd_solver="full").fit(cells.block(rows).astype(float))
    overlap = np.linalg.svd(found.components.numpy().T @ expected.components_.T, compute_uv=False)
    np.testing.assert_allclose(overlap, 1, atol=1e-5)
    np.testing.assert_allclose(np.abs((found.components.numpy() * expected.components_.T).sum(0)), 1, atol=1e-4)
    assert found.scale == pytest.approx(np.sqrt(expected.explained_variance_.mean()), rel=1e-4)
