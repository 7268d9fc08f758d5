from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from scperturbrl.flow.control_cells import ControlCells, SparseRows


@pytest.fixture
def matrix():
    dense = sparse.random(40, 7, density=0.3, random_state=0).toarray().astype(np.float32)
    dense[5] = 0
    return dense


@pytest.mark.parametrize("rows", [[0], [5], [39, 0, 0, 17], list(range(40)), []])
def test_rows_are_those_of_the_matrix(matrix, rows):
    found = SparseRows.of(torch.tensor(matrix)).to("cpu").dense(torch.tensor(rows, dtype=torch.long))
    np.testing.assert_array_equal(found.numpy(), matrix[rows])


def test_it_agrees_with_compressed_rows_of_scipy(matrix):
    own, theirs = SparseRows.of(torch.tensor(matrix)), sparse.csr_matrix(matrix)
    assert len(own) == 40
    np.testing.assert_array_equal(own.values, theirs.data)
    np.testing.assert_array_equal(own.columns, theirs.indices)
    np.testing.assert_array_equal(own.start, theirs.indptr)


def test_every_part_of_control_cells_is_changed():
    cells = ControlCells(torch.zeros(3, 2), torch.ones(3, 2), torch.arange(12.0).view(3, 4), torch.arange(3.0))
    first = cells.each(lambda part: part[1:2])
    assert [tuple(part.shape) for part in first] == [(1, 2), (1, 2), (1, 4), (1,)]
    assert first.unit.item() == 1
