from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scperturbrl.data.cells.growing_rows import GrowingRows


@pytest.mark.parametrize("n_rows", [0, 5, 10_000])
@pytest.mark.parametrize("sizes", [[0], [1], [3, 0, 400, 7], [50] * 9])
def test_the_rows_are_those_of_the_blocks_stacked(sizes, n_rows):
    rng = np.random.default_rng(0)
    blocks = [(rng.poisson(0.6, (n, 11)) * 1.5).astype(np.float32) for n in sizes]
    blocks[-1][-1:] = 0
    rows = GrowingRows(11, n_rows)
    for number, block in enumerate(blocks):
        rows.add(sparse.csr_matrix(block) if number % 2 else block)
    found, truth = rows.matrix(), sparse.csr_matrix(np.concatenate(blocks))
    assert found.shape == truth.shape
    for name in ("data", "indices", "indptr"):
        ours, theirs = getattr(found, name), getattr(truth, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_a_full_block_and_numbers_that_are_none_are_kept():
    rows, block = GrowingRows(4), np.array([[1, 2, np.nan, 4], [5, 6, -0.0, np.inf]], dtype=np.float32)
    rows.add(block)
    np.testing.assert_array_equal(rows.matrix().toarray(), block)
    assert rows.matrix().nnz == 7
