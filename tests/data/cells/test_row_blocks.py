from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.pca import principal_components
from scperturbrl.data.cells.row_blocks import RowBlocks, row_matrix

N, G = 300, 7

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2")


@pytest.fixture(scope="module")
def matrix():
    return sparse.random(N, G, 0.4, format="csr", dtype=np.float32, random_state=0)


def in_h5ad(matrix, folder):
    ad.AnnData(matrix).write_h5ad(folder / "a.h5ad")
    return ad.read_h5ad(folder / "a.h5ad", backed="r").X


def in_dense_h5ad(matrix, folder):
    ad.AnnData(matrix.toarray()).write_h5ad(folder / "b.h5ad")
    return h5py.File(folder / "b.h5ad")["X"]


def in_zarr(matrix, folder):
    ad.AnnData(matrix).write_zarr(folder / "a.zarr")
    return ad.io.sparse_dataset(zarr.open(folder / "a.zarr", mode="r")["X"])


def in_dense_zarr(matrix, folder):
    ad.AnnData(matrix.toarray()).write_zarr(folder / "b.zarr")
    return zarr.open(folder / "b.zarr", mode="r")["X"]


def in_dask(matrix, folder):
    da = pytest.importorskip("dask.array")
    return da.from_array(matrix.toarray(), chunks=(37, G))


def in_sparse_dask(matrix, folder):
    pytest.importorskip("dask")
    ad.AnnData(matrix).write_h5ad(folder / "c.h5ad")
    return ad.experimental.read_lazy(folder / "c.h5ad").X


@pytest.fixture(scope="module", params=[in_h5ad, in_dense_h5ad, in_zarr, in_dense_zarr, in_dask, in_sparse_dask])
def source(request, matrix, tmp_path_factory):
    return request.param(matrix, tmp_path_factory.mktemp("rows"))


def values(rows):
    return rows.toarray() if sparse.issparse(rows) else rows


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, N - 1), max_size=60), st.integers(5, 400))
def test_rows_are_those_of_the_matrix(source, matrix, index, longest):
    rows = RowBlocks(source, longest=longest)
    index = np.asarray(index, dtype=int)
    np.testing.assert_array_equal(values(rows[index]), matrix.toarray()[index])


def test_masks_slices_columns_and_blocks(source, matrix):
    rows, expected = RowBlocks(source, longest=50), matrix.toarray()
    mask = np.arange(N) % 3 == 1
    np.testing.assert_array_equal(values(rows[mask]), expected[mask])
    np.testing.assert_array_equal(values(rows[20:90]), expected[20:90])
    genes = np.array([4, 0, 4])
    assert rows.take(genes).shape == (N, 3)
    np.testing.assert_array_equal(values(rows.take(genes)[:5]), expected[:5, genes])
    np.testing.assert_array_equal(np.concatenate([values(block) for block in rows.blocks()]), expected)


def test_no_read_is_longer_than_allowed(matrix):
    class Spy:
        shape, dtype, lengths = matrix.shape, matrix.dtype, []

        def __getitem__(self, rows):
            self.lengths.append(rows.stop - rows.start)
            return matrix[rows]

    rows = RowBlocks(Spy(), longest=16)
    rows[np.r_[0:100, 200, 290:300]]
    assert max(Spy.lengths) <= 16
    assert sum(Spy.lengths) == 111


def test_rows_that_are_held_are_not_read_again(matrix):
    rows = RowBlocks(matrix, longest=64)
    rows.hold(50, 120)
    rows.source = np.zeros(matrix.shape, dtype=np.float32)
    np.testing.assert_array_equal(rows[[60, 119, 50]].toarray(), matrix[[60, 119, 50]].toarray())
    assert not rows[[49, 60]].any()


def test_genes_first_and_views_of_files_are_refused(matrix, tmp_path):
    ad.AnnData(matrix.tocsc()).write_h5ad(tmp_path / "csc.h5ad")
    backed = ad.read_h5ad(tmp_path / "csc.h5ad", backed="r")
    with pytest.raises(ValueError, match="stored by genes"):
        row_matrix(backed, backed.X, longest=10)
    backed.file.close()
    ad.AnnData(matrix).write_h5ad(tmp_path / "csr.h5ad")
    backed = ad.read_h5ad(tmp_path / "csr.h5ad", backed="r")
    view = backed[:10]
    with pytest.raises(ValueError, match="view of a file"):
        row_matrix(view, view.X, longest=10)
    backed.file.close()


def test_components_summed_block_by_block_are_those_of_scikit_learn(toy):
    from sklearn.decomposition import PCA

    rows = np.flatnonzero(toy.obs["split"] == "train")
    cells = Cells.of(toy, memory_limit=50 * 120 * toy.n_vars)
    assert cells.chunk == 50
    found = principal_components(cells, rows, 6)
    pca = PCA(6, svd_solver="covariance_eigh").fit(toy.X[rows].toarray().astype(np.float64))
    np.testing.assert_allclose(found.mean, pca.mean_, rtol=1e-5)
    np.testing.assert_allclose(found.loadings.T, pca.components_, atol=1e-4)
    np.testing.assert_allclose(found.variance, pca.explained_variance_, rtol=1e-4)


def test_what_needs_all_cells_at_once_says_so(toy, tmp_path):
    toy.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match="`tl.generate` needs.*to_memory"):
        Cells.of(backed).whole("`tl.generate`")
    with pytest.raises(ValueError, match="method='wilcoxon'.*to_memory"):
        spr.pp.reference(backed, method="wilcoxon")
    backed.file.close()


def test_lazily_read_tables_are_loaded(toy, tmp_path):
    pytest.importorskip("dask")
    toy.write_zarr(tmp_path / "a.zarr")
    lazy = ad.experimental.read_lazy(tmp_path / "a.zarr")
    spr.pp.split(lazy, seed=1)
    assert isinstance(lazy.obs, pd.DataFrame)
    assert isinstance(lazy.varm["perturbation_effect"], pd.DataFrame)
    assert type(lazy.X).__module__.startswith("dask")
