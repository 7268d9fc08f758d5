from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.decomposition import PCA

from scperturbrl.data.cells import pca
from scperturbrl.data.cells.cells import Cells


@pytest.mark.parametrize("made_dense", [False, True])
@pytest.mark.parametrize("large", [10, 1000])
def test_components_are_those_of_sklearn_in_either_precision(ready_toy, monkeypatch, large, made_dense):
    monkeypatch.setattr(pca, "_LARGE", large)
    # several blocks, the last one smaller
    monkeypatch.setattr(pca, "_AT_ONCE", 37)
    adata = ready_toy.copy()
    adata.X = sparse.csr_matrix(adata.X)
    if made_dense:
        adata.X = adata.X.toarray()
    cells = Cells.of(adata)
    rows = np.flatnonzero(cells.is_training())
    found = pca.principal_components(cells, rows, 6)
    expected = PCA(6, svd_solver="full").fit(cells.block(rows).astype(np.float64))
    np.testing.assert_allclose(found.mean, expected.mean_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.variance, expected.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(np.abs((found.loadings * expected.components_.T).sum(0)), 1, atol=1e-3)
    assert {part.dtype for part in found} == {np.dtype(np.float32)}


def test_blocks_are_no_longer_than_was_asked_for(ready_toy):
    cells = Cells.of(ready_toy)
    rows = np.arange(100)
    found = list(cells.pieces(rows, most=37))
    assert [block.shape[0] for _, block in found] == [37, 37, 26]
    np.testing.assert_array_equal(np.concatenate([rows[part] for part, _ in found]), rows)


def test_the_largest_eigenvectors_come_first():
    values, vectors = pca.largest_eigenvectors(torch.diag(torch.tensor([1.0, 4.0, 2.0])).double(), 2)
    np.testing.assert_allclose(values, [4, 2])
    np.testing.assert_allclose(np.abs(vectors), [[0, 0], [1, 0], [0, 1]], atol=1e-12)
