from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scperturbrl.data.cells.counts import count_unit
from scperturbrl.data.cells.other_depth import OtherCells


def predicted(sizes, *, n=60, seed=0):
    """Log-normalised cells of 200 genes, with the given mean counts for each condition."""
    rng = np.random.default_rng(seed)
    counts = np.concatenate([rng.poisson(size / 200, (n, 200)) for size in sizes.values()])
    unit = 1e4 / counts.sum(1)
    matrix = sparse.csr_matrix(np.log1p(counts * unit[:, None]).astype(np.float32))
    return matrix, [f"p{i}" for i in range(len(counts))], np.repeat(list(sizes), n)


def test_only_what_is_deeper_is_thinned():
    matrix, names, labels = predicted({"A": 1200, "B": 600, "C": 300})
    other = OtherCells.read(matrix, names, labels, conditions={"A", "B", "C", "D"}, chunk=50)
    wanted = dict.fromkeys("ABCD", 0.06)
    assert other.ratio("A", 0.06) == pytest.approx(2, rel=0.03)
    assert other.ratio("B", 0.06) == other.ratio("D", 0.06) == other.ratio("A", np.nan) == 1
    assert other.ratio("C", 0.06) == pytest.approx(0.5, rel=0.03)
    thinned, names = other.at_most(wanted)
    assert names.tolist() == ["A"]
    assert np.median(1 / count_unit(thinned[labels == "A"])) == pytest.approx(0.06, rel=0.05)
    np.testing.assert_allclose(np.expm1(thinned.toarray()).sum(1), 1e4, rtol=1e-3)
    assert (thinned[labels != "A"] != matrix[labels != "A"]).nnz == 0


def test_nothing_is_copied_where_nothing_is_deeper():
    matrix, names, labels = predicted({"A": 600})
    other = OtherCells.read(matrix, names, labels, conditions={"A"}, chunk=50)
    assert other.at_most({"A": 0.06})[0] is matrix


def test_means_are_no_counts():
    values = np.random.default_rng(0).gamma(2, size=(30, 40)).astype(np.float32)
    other = OtherCells.read(values, range(30), np.array(["A"] * 30), conditions={"A"}, chunk=50)
    assert not len(other.depth)
    assert other.at_most({"A": 1e-9})[0] is values
