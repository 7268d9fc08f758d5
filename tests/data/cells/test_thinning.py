from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scperturbrl.data.cells.cell_keys import cell_keys
from scperturbrl.data.cells.counts import counts_of
from scperturbrl.data.cells.row_blocks import RowBlocks
from scperturbrl.data.cells.thinning import Thinning

N, G = 400, 6


def logged(counts, unit):
    return sparse.csr_matrix(np.log1p(counts * unit[:, None]).astype(np.float32))


def make(n=N, *, share=0.3, common_total=False, seed=0):
    """Cells in which every count is known, and their thinning."""
    rng = np.random.default_rng(seed)
    counts = np.column_stack([np.ones(n), rng.poisson([0, 1, 5, 20, 60], (n, 5))])
    unit = 100 / counts.sum(1) if common_total else rng.uniform(0.5, 2, n)
    names = np.array([f"cell{seed}-{i}" for i in range(n)], dtype=object)
    return counts, unit, Thinning(np.full(n, share), unit, cell_keys(names), common_total)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(0, 50))
def test_mean_and_variance_are_binomial(share, seed):
    n = 3000
    counts = np.tile([1.0, 40.0], (n, 1))
    unit = np.full(n, 0.7)
    keys = cell_keys([f"{seed}-{i}" for i in range(n)])
    thinned = Thinning(np.full(n, share), unit, keys, common_total=False).matrix(logged(counts, unit), chunk=500)
    found = counts_of(thinned, unit / share).toarray()
    for column, size in enumerate(counts[0]):
        variance = size * share * (1 - share)
        assert found[:, column].mean() == pytest.approx(size * share, abs=4.5 * np.sqrt(variance / n))
        # standard error of a sample variance, from the fourth moment of the binomial
        error = np.sqrt((variance * (1 + 3 * (size - 2) * share * (1 - share)) - variance**2) / n)
        assert found[:, column].var() == pytest.approx(variance, abs=4.5 * error + 1e-3)
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.09


def test_values_stay_what_they_were_on_average_and_totals_exactly():
    counts, unit, thinning = make(6000)
    thinned = thinning.matrix(logged(counts, unit), chunk=64)
    expected = (counts * unit[:, None]).mean(0)
    np.testing.assert_allclose(np.expm1(thinned.toarray()).mean(0)[2:], expected[2:], rtol=0.12)
    counts, unit, thinning = make(common_total=True)
    thinned = thinning.matrix(logged(counts, unit), chunk=64)
    np.testing.assert_allclose(np.expm1(thinned.toarray()).sum(1), 100, rtol=1e-4)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(40)), st.integers(1, 40))
def test_the_order_of_cells_and_which_others_there_are_do_not_matter(order, kept):
    counts, unit, thinning = make(40)
    values, order = logged(counts, unit), np.asarray(order)[:kept]
    own = Thinning(thinning.share[order], unit[order], thinning.keys[order], common_total=False)
    expected = thinning.matrix(values, chunk=7).toarray()[order]
    np.testing.assert_array_equal(own.matrix(values[order], chunk=50).toarray(), expected)


def test_sparse_dense_and_cells_in_a_file_agree(tmp_path):
    counts, unit, thinning = make(100)
    values = logged(counts, unit)
    ad.AnnData(values).write_h5ad(tmp_path / "a.h5ad")
    source = RowBlocks(ad.read_h5ad(tmp_path / "a.h5ad", backed="r").X, longest=16)
    expected = thinning.matrix(values, chunk=30)
    np.testing.assert_array_equal(thinning.matrix(values.toarray(), chunk=30), expected.toarray())
    streamed = thinning.matrix(source, chunk=30)
    assert isinstance(streamed, RowBlocks)
    assert streamed.shape == values.shape
    some = np.array([70, 3, 3, 99])
    np.testing.assert_array_equal(streamed[some].toarray(), expected[some].toarray())
    np.testing.assert_array_equal(streamed.take(np.array([5, 1]))[some].toarray(), expected[some][:, [5, 1]].toarray())
    streamed.hold(60, 100)
    np.testing.assert_array_equal(streamed[some[:1]].toarray(), expected[some[:1]].toarray())


def test_cells_with_share_1_keep_every_bit_and_the_source_is_not_touched():
    counts, unit, thinning = make(50)
    share = np.where(np.arange(50) % 2, 1.0, 0.4)
    values = logged(counts, unit)
    before = values.toarray()
    thinned = Thinning(share, unit, thinning.keys, common_total=False).matrix(values, chunk=9).toarray()
    np.testing.assert_array_equal(thinned[share == 1], before[share == 1])
    assert (thinned[share < 1] != before[share < 1]).any(1).mean() > 0.9
    np.testing.assert_array_equal(values.toarray(), before)


def test_cells_of_one_name_are_thinned_on_their_own():
    n = 300
    counts = np.column_stack([np.arange(1, n + 1), np.full(n, 50), np.ones(n)])
    unit = np.ones(n)
    thinned = Thinning(np.full(n, 0.5), unit, cell_keys(["same"] * n), common_total=False)
    found = counts_of(thinned.matrix(logged(counts, unit), chunk=64), unit / 0.5).toarray()
    assert len(np.unique(found[:, 1])) > 10


def test_an_unread_cell_is_thinned_by_the_unit_that_is_given():
    values = sparse.csr_matrix(np.log1p([[3.0, 7.1, 12.4, 31.7]]).astype(np.float32))
    thinning = Thinning(np.array([0.5]), np.array([0.1]), cell_keys(["a"]), common_total=False)
    found = np.expm1(thinning.matrix(values, chunk=5).toarray())[0]
    np.testing.assert_allclose(found / 0.2, np.rint(found / 0.2), atol=1e-3)
    assert abs(found.sum() - 54.2) < 12
