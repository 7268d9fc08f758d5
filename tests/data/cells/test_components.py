from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

from scperturbrl.data.cells import components
from scperturbrl.data.cells.cells import Cells


@pytest.mark.parametrize("many", [4000, 10])
def test_components_are_those_of_sklearn(ready_toy, monkeypatch, many):
    monkeypatch.setattr(components, "_MANY_GENES", many)
    cells = Cells.of(ready_toy)
    block = cells.block(np.flatnonzero(cells.is_training())).astype(np.float64)
    expected = PCA(6, svd_solver="full").fit(block).components_
    found = components.training_components(cells, n_components=6).loadings
    np.testing.assert_allclose(np.abs(np.sum(found.T * expected, axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(found.T @ found, np.eye(6), atol=1e-4)


def test_a_sample_of_the_cells_is_near(ready_toy, monkeypatch):
    cells = Cells.of(ready_toy)
    full = components.training_components(cells, n_components=2).loadings
    monkeypatch.setattr(components, "_MOST_CELLS", 300)
    sample = components.training_components(cells, n_components=2).loadings
    assert np.linalg.svd(full.T @ sample, compute_uv=False).min() > 0.7


def test_coordinates_are_those_of_sklearn(ready_toy):
    cells = Cells.of(ready_toy)
    training = cells.block(np.flatnonzero(cells.is_training())).astype(np.float64)
    model = PCA(3, svd_solver="full").fit(training)
    every = cells.block(np.arange(ready_toy.n_obs))
    expected = model.transform(every)
    found = components.training_components(cells, n_components=3)
    for matrix in (every, sparse.csr_matrix(every)):
        coordinates = found.project(matrix)
        assert coordinates.dtype == np.float32
        # the sign of a component is one choice for all cells
        np.testing.assert_allclose(
            coordinates * np.sign((coordinates * expected).sum(0)), expected, atol=1e-3 * np.abs(expected).max()
        )


def test_coordinates_do_not_depend_on_held_out_cells(ready_toy):
    spoilt = ready_toy.copy()
    held_out = (spoilt.obs["split"] == "test").to_numpy()
    spoilt.X = spoilt.X.toarray()
    spoilt.X[held_out] = 0
    np.testing.assert_array_equal(*(components.picture_components(Cells.of(x)).loadings for x in (ready_toy, spoilt)))


def test_cells_to_be_judged_never_stand_in_for_training_cells(ready_toy):
    cells = Cells.of(ready_toy)
    judged = replace(cells, split=np.full(len(cells.codes), "test"))
    for make in (components.picture_components, lambda c: components.training_components(c, n_components=2)):
        with pytest.raises(ValueError, match=r"no training cells.*pp\.split"):
            make(judged)
