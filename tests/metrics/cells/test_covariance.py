from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import squareform
from scipy.stats import pearsonr

from scperturbrl.metrics import covariance_agreement


def cells(seed, n=80, genes=8, shared=1.0):
    rng = np.random.default_rng(seed)
    return 5 + rng.normal(size=(n, genes)) + shared * rng.normal(size=(n, 1)) * np.linspace(-1, 1.5, genes)


def test_matches_pandas_and_scipy():
    pandas = pytest.importorskip("pandas")
    first, second = (pandas.DataFrame(cells(seed)).corr().to_numpy() for seed in (0, 1))
    upper = [squareform(matrix - np.eye(8), checks=False) for matrix in (first, second)]
    found = covariance_agreement(cells(0), cells(1))
    assert found.correlation == pytest.approx(pearsonr(*upper).statistic)
    largest = [np.linalg.eigvals(matrix).real.max() for matrix in (first, second)]
    assert found.eigenvalue_ratio == pytest.approx(largest[0] / largest[1])


def test_independent_genes_are_seen_and_scale_is_not():
    real = cells(0)
    assert covariance_agreement(real * 3 - 2, real, min_expressed=0).eigenvalue_ratio == pytest.approx(1)
    assert covariance_agreement(real * 3 - 2, real, min_expressed=0).correlation == pytest.approx(1)
    shuffled = np.stack([np.random.default_rng(i).permutation(column) for i, column in enumerate(real.T)], axis=1)
    found = covariance_agreement(shuffled, real)
    assert found.correlation < 0.7
    assert found.eigenvalue_ratio < 0.7
    in_step = np.repeat(real[:, :1], 8, axis=1) + 0.01 * cells(3, shared=0)
    assert covariance_agreement(in_step, real).eigenvalue_ratio > 1.5


def test_means_do_not_matter_but_genes_do():
    real = cells(0)
    assert covariance_agreement(real + np.arange(8), real).correlation == pytest.approx(1)
    genes = np.array([1, 3, 4, 6, 7])
    assert covariance_agreement(cells(1), real, genes=genes) == covariance_agreement(cells(1)[:, genes], real[:, genes])
    mask = np.isin(np.arange(8), genes)
    assert covariance_agreement(cells(1), real, genes=mask) == covariance_agreement(cells(1), real, genes=genes)


def test_too_little_has_no_value():
    real = cells(0)
    still = np.repeat(real.mean(0, keepdims=True), 80, axis=0)
    for found in (
        covariance_agreement(real[:9], real),
        covariance_agreement(real[:, :4], real[:, :4]),
        covariance_agreement(still, real),
    ):
        assert np.isnan(found).all()
    with pytest.raises(ValueError, match="dense"):
        covariance_agreement(real[:, :4], real)


def test_cell_eval2_gives_the_same():
    theirs = pytest.importorskip("cell_eval2.metrics.cells")
    expected = theirs.cov_agreement(cells(1), cells(0))
    found = covariance_agreement(cells(0), cells(1))
    assert found.correlation == pytest.approx(expected["corr"])
    assert found.eigenvalue_ratio == pytest.approx(expected["eig_ratio"])
