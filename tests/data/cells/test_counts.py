from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scperturbrl as spr
from scperturbrl.data.cells.counts import count_unit, counts_of


def check(found, expected):
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_units_of_the_simulator():
    adata = spr.datasets.simulated_perturbseq(n_genes=300, n_singles=3, n_doubles=1, n_controls=200)
    check(count_unit(adata.X), 1e4 / np.asarray(adata.layers["counts"].sum(1)).ravel())


def test_units_of_kang(loaded_kang, read_shared):
    raw = read_shared("kang_2018_pbmc_ifnb.h5ad").X
    check(count_unit(loaded_kang.X), 1e4 / np.asarray(raw.sum(1)).ravel())


def few(raw):
    return np.asarray((raw > 0).sum(1)).ravel() < 20


@pytest.mark.parametrize("name", ["zhao", "norman"])
def test_units_of_a_few_hundred_genes(request, read_shared, name):
    file = {"zhao": "zhao_2021_gbm_panobinostat.h5ad", "norman": "norman_2019_k562_crispra.h5ad"}[name]
    adata, raw = request.getfixturevalue(f"loaded_{name}"), read_shared(file)
    size = raw.obs["size_total"].to_numpy() if name == "norman" else np.asarray(raw.X.sum(1)).ravel()
    smallest = np.array([row.data.min() for row in raw.X])
    # where every count of a cell is a multiple of another number, nothing in the cell tells which
    divisor = np.array([np.gcd.reduce(row.data.astype(int)) for row in raw.X])
    known = (divisor == 1) & (smallest <= 4)
    assert known.mean() > 0.999
    check(count_unit(adata.X)[known], 1e4 / size[known])


def test_sparse_and_dense_and_chunks_agree(toy):
    expected = count_unit(toy.X)
    np.testing.assert_array_equal(count_unit(toy.X.toarray()), expected)
    np.testing.assert_array_equal(count_unit(sparse.csc_matrix(toy.X), chunk=7), expected)


@given(
    counts=st.lists(st.integers(0, 200), min_size=4, max_size=60),
    singles=st.integers(1, 3),
    unit=st.floats(0.05, 50),
    dtype=st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=200, deadline=None)
def test_any_unit_is_found_where_a_gene_has_a_single_count(counts, singles, unit, dtype):
    cell = np.array([counts + [1] * singles])
    logged = np.log1p(cell * unit).astype(dtype)
    found = count_unit(logged)
    check(found, [unit])
    np.testing.assert_array_equal(counts_of(logged.astype(np.float32), found), cell)


@given(st.integers(2, 4), st.floats(0.1, 20))
@settings(deadline=None)
def test_the_smallest_count_need_not_be_one(smallest, unit):
    cell = np.array([[smallest, smallest * 2 + 1, smallest * 3 + 1, smallest * 5 + 2, 0]])
    check(count_unit(np.log1p(cell * unit)), [unit])


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_values_that_are_no_counts_have_no_unit(seed):
    rng = np.random.default_rng(seed)
    assert np.isnan(count_unit(rng.gamma(2, size=(20, 200)))).all()


def test_corrected_values_have_no_unit(toy):
    corrected = toy.X.toarray() + np.random.default_rng(0).normal(scale=0.05, size=toy.shape)
    assert np.isnan(count_unit(np.maximum(corrected, 0))).mean() > 0.95


def test_an_empty_cell_has_no_unit():
    assert np.isnan(count_unit(np.array([[0.0, 0.0], [np.log(2), 0.0]]))).tolist() == [True, False]
