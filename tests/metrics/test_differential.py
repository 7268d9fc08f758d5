from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr, ttest_ind
from statsmodels.stats.multitest import multipletests

from scperturbrl.metrics import de_overlap, de_spearman, direction_match, top_genes, welch_t


def populations(seed: int, n: int = 25, m: int = 40, n_genes: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.gamma(1.5, size=(n, n_genes)), rng.gamma(1.0, size=(m, n_genes))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_welch_matches_scipy(dtype):
    cells, control = (part.astype(dtype) for part in populations(0))
    test = welch_t(cells, control)
    expected = ttest_ind(cells.astype(float), control.astype(float), equal_var=False)
    np.testing.assert_allclose(test.statistic, expected.statistic, rtol=1e-9)
    np.testing.assert_allclose(test.p_value, expected.pvalue, rtol=1e-8)
    np.testing.assert_allclose(test.padj, multipletests(test.p_value, method="fdr_bh")[1], rtol=1e-12)


def test_welch_over_more_rows_than_one_block():
    cells, control = populations(1, n=3000, m=1025, n_genes=4)
    expected = ttest_ind(cells, control, equal_var=False).statistic
    np.testing.assert_allclose(welch_t(cells, control).statistic, expected, rtol=1e-9)


def test_welch_without_variance():
    cells, control = populations(2, n_genes=4)
    cells[:, 0] = control[:, 0] = 1.0
    cells[:, 1], control[:, 1] = 2.0, 1.0
    test = welch_t(cells, control)
    assert np.isnan([test.statistic[0], test.p_value[0], test.padj[0]]).all()
    assert test.statistic[1] == np.inf
    assert test.p_value[1] == 0
    np.testing.assert_allclose(test.padj[1:], multipletests(test.p_value[1:], method="fdr_bh")[1])


@pytest.mark.parametrize("n", [0, 1])
def test_welch_of_too_few_cells_is_nan(n):
    _, control = populations(3)
    assert all(np.isnan(part).all() for part in welch_t(control[:n], control))
    assert all(np.isnan(part).all() for part in welch_t(control, control[:n]))


def test_top_genes_skips_nan_and_excluded():
    assert top_genes([np.nan, 1.0, -5.0, 3.0, -3.0], k=3, exclude=[2]).tolist() == [3, 4, 1]
    assert top_genes([np.nan, np.nan], k=2).tolist() == []
    assert top_genes([-np.inf, 1.0], k=1).tolist() == [0]


def test_de_spearman_matches_scipy():
    predicted, observed = np.random.default_rng(4).normal(size=(2, 40)).round(1)
    genes = np.arange(5, 30)
    expected = spearmanr(predicted[genes], observed[genes]).statistic
    assert de_spearman(predicted, observed, genes=genes) == pytest.approx(expected)
    assert math.isnan(de_spearman(predicted, observed, genes=np.array([], dtype=int)))
    assert math.isnan(de_spearman(np.zeros(40), observed, genes=genes))


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_overlap_matches_sets(seed, k):
    predicted, observed = np.random.default_rng(seed).normal(size=(2, 40))
    size = min(k, 40)

    def top(effect: np.ndarray) -> set[int]:
        return set(sorted(range(40), key=lambda gene: -abs(effect[gene]))[:size])

    assert de_overlap(predicted, observed, k=k) == pytest.approx(len(top(predicted) & top(observed)) / size)
    assert de_overlap(observed, predicted, k=k) == de_overlap(predicted, observed, k=k)
    assert de_overlap(-3 * observed, observed, k=k) == 1


def test_overlap_of_a_prediction_of_no_change_is_zero():
    assert de_overlap(np.zeros(10), np.arange(10.0), k=3) == 0
    assert math.isnan(de_overlap(np.full(10, np.nan), np.arange(10.0), k=3))
    with pytest.raises(ValueError, match="at least one gene"):
        de_overlap(np.zeros(10), np.zeros(10), k=0)


def test_direction_matches_a_count():
    predicted, observed = np.random.default_rng(5).normal(size=(2, 50)).round(1)
    genes = np.arange(3, 44)
    moved = [gene for gene in genes if observed[gene] != 0]
    right = [gene for gene in moved if predicted[gene] * observed[gene] > 0]
    assert direction_match(predicted, observed, genes=genes) == pytest.approx(len(right) / len(moved))
    assert direction_match(np.zeros(50), observed, genes=genes) == 0


def test_direction_is_nan_when_undefined():
    assert math.isnan(direction_match(np.ones(4), np.zeros(4), genes=[0, 1]))
    assert math.isnan(direction_match(np.ones(4), np.ones(4), genes=np.array([], dtype=int)))
    assert math.isnan(direction_match(np.full(4, np.nan), np.ones(4), genes=[0, 1]))
