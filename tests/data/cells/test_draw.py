from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.draw import shuffled


@pytest.fixture(scope="module")
def cells(ready_toy):
    return Cells.of(ready_toy)


def turned(cells, order):
    return replace(cells, expression=cells.expression[order], names=cells.names[order])


def test_the_order_is_that_of_the_cells_and_not_of_the_rows(cells):
    order = np.random.default_rng(0).permutation(len(cells.names))
    first = cells.names[shuffled(cells, np.arange(80), 0, "a")]
    rows = np.flatnonzero(np.isin(order, np.arange(80)))
    second = cells.names[order][shuffled(turned(cells, order), rows, 0, "a")]
    assert list(first) == list(second)
    assert set(first) == set(cells.names[:80])


def test_a_part_of_the_cells_keeps_its_order(cells):
    everything = shuffled(cells, np.arange(200), 0, "a")
    assert list(everything[everything < 50]) == list(shuffled(cells, np.arange(50), 0, "a"))


def test_seeds_and_streams_give_other_orders(cells):
    rows = np.arange(100)
    orders = [tuple(shuffled(cells, rows, *key)) for key in ((0, "a"), (0, "b"), (1, "a"))]
    assert len(set(orders)) == 3
    assert tuple(rows) not in orders


def test_every_cell_is_as_likely_to_be_drawn(cells):
    n, size, draws = 40, 10, 600
    counts = np.bincount(
        np.concatenate([shuffled(cells, np.arange(n), i, "a")[:size] for i in range(draws)]), minlength=n
    )
    assert stats.chisquare(counts).pvalue > 1e-3
    # draws without replacement vary less than independent ones, by a known share
    spread = counts.var() / (draws * size / n * (1 - size / n))
    assert 0.5 < spread < 1.8


@pytest.mark.parametrize("as_matrix", [sparse.csr_matrix, lambda x: x.toarray()])
def test_cells_of_one_name_are_told_apart_by_what_they_hold(cells, as_matrix):
    same = replace(cells, names=pd.Index(["cell"] * 300), expression=as_matrix(cells.expression))
    assert len(np.unique(same.keys)) == 300
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(turned(same, order).keys, same.keys[order])
    genes = np.random.default_rng(1).permutation(len(cells.genes))
    again = replace(same, expression=same.expression[:, genes], genes=cells.genes[genes])
    np.testing.assert_array_equal(again.keys, same.keys)
