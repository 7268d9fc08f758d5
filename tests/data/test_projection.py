from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

import scperturbrl as spr
from scperturbrl.data import projection
from scperturbrl.data.cells import Cells


@pytest.fixture(scope="module")
def cells():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    return Cells.of(adata)


def test_projection_is_that_of_an_exact_decomposition(cells):
    dense = cells.expression.toarray().astype(np.float64)
    expected = PCA(5, svd_solver="full").fit_transform(dense)
    scale = np.abs(expected).max()
    for matrix in (cells.expression, sparse.csr_matrix(dense), dense):
        found = projection.project(cells, matrix, n_components=5)
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4 * scale)
        # the sign of a component is one choice for all cells
        np.testing.assert_allclose(found * np.sign((found * expected).sum(0)), expected, atol=1e-4 * scale)
