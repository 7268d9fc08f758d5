from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.fingerprint import Fingerprint, cell_numbers
from scperturbrl.data.cells.setup import Setup


def of(adata, layer=None):
    table, codes = condition_table(adata, Setup.of(adata))
    return Fingerprint.of(adata, layer, table.index.to_numpy(), codes, np.arange(adata.n_obs))


@pytest.fixture(scope="module")
def whole(ready_toy):
    return of(ready_toy)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_part_in_any_order_is_recognised(ready_toy, whole, seed):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(ready_toy.n_obs)[: rng.integers(20, ready_toy.n_obs)]
    part = ready_toy[rows][:, rng.permutation(ready_toy.n_vars)].copy()
    part.uns.pop("scperturbrl")
    numbers = cell_numbers(part, None)
    table, codes = condition_table(part, Setup.of(ready_toy))
    assert not len(whole.relabelled(numbers, table.index.to_numpy(), codes))
    assert not len(whole.unknown(numbers, np.arange(part.n_obs)))
    other, n_compared = whole.rewritten(part, None, numbers)
    assert not len(other)
    assert n_compared >= min(len(table), 5)


def test_any_change_of_a_cell_that_is_compared_is_found(ready_toy, whole):
    adata = ready_toy.copy()
    numbers = cell_numbers(adata, None)
    adata.X = adata.X.toarray()
    adata.X[:, 3] += np.float32(1e-3)
    other, n_compared = whole.rewritten(adata, None, numbers)
    assert len(other) == n_compared > 100


def test_what_is_kept_is_small(ready_toy, whole):
    assert sum(value.nbytes for value in (whole.keys, whole.codes, whole.content)) == 20 * ready_toy.n_obs
    back = Fingerprint.from_uns(whole.to_uns())
    assert (back.content == whole.content).all()
    assert (np.diff(whole.keys.astype(object)) > 0).all()


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_cells_of_one_name_are_told_apart_by_what_they_hold(ready_toy):
    adata = ready_toy[:6].copy()
    adata.X = adata.X.toarray()
    adata.obs_names = ["a", "a", "b", "c", "d", "e"]
    assert len(np.unique(cell_numbers(adata, None))) == 6
    adata.X[1] = adata.X[0]
    assert len(np.unique(cell_numbers(adata, None))) == 5
