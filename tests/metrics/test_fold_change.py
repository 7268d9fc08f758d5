from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error

from scperturbrl.metrics import lfc_nmae


def test_error_as_a_share_of_the_size():
    rng = np.random.default_rng(0)
    predicted, observed = rng.normal(size=(2, 40))
    genes = np.arange(5, 30)
    expected = mean_absolute_error(observed[genes], predicted[genes]) / np.abs(observed[genes]).mean()
    assert lfc_nmae(predicted, observed, genes=genes) == pytest.approx(expected, rel=1e-12)


def test_no_change_scores_one_and_the_truth_zero():
    observed = np.linspace(-2, 2, 12)
    assert lfc_nmae(np.zeros(12), observed, genes=np.ones(12, bool)) == 1
    assert lfc_nmae(observed, observed, genes=np.ones(12, bool)) == 0


def test_saying_nothing_is_no_way_out():
    observed = np.linspace(1, 2, 12)
    predicted = observed.copy()
    predicted[:6] = np.nan, np.inf, -np.inf, np.nan, np.nan, np.nan
    silent = np.where(np.isfinite(predicted), predicted, 0)
    every = np.ones(12, bool)
    assert lfc_nmae(predicted, observed, genes=every) == lfc_nmae(silent, observed, genes=every) > 0


def test_too_few_or_still_genes_have_no_value():
    assert np.isnan(lfc_nmae(np.ones(9), np.ones(9), genes=np.arange(9)))
    assert np.isnan(lfc_nmae(np.ones(20), np.zeros(20), genes=np.arange(20)))
    assert np.isnan(lfc_nmae(np.ones(12), np.array([np.nan] * 3 + [1.0] * 9), genes=np.arange(12)))
    with pytest.raises(ValueError, match="`min_genes` is 0"):
        lfc_nmae(np.ones(3), np.ones(3), genes=[0], min_genes=0)


@pytest.mark.parametrize("seed", range(4))
def test_cell_eval2_gives_the_same(seed):
    pl, de = pytest.importorskip("polars"), pytest.importorskip("cell_eval2.metrics.de")
    rng = np.random.default_rng(seed)
    predicted, observed = rng.normal(size=(2, 50))
    predicted[:2] = np.nan, np.inf
    padj = rng.uniform(0, 0.1, 50)
    genes = [f"G{i:03}" for i in range(50)]
    frame = lambda lfc, p: pl.DataFrame(
        {"target": ["G010"] * 50, "feature": genes, "log2_fold_change": lfc, "p_adj": p, "p_value": p}
    )
    theirs = de.de_lfc_nmae(de_pred=frame(predicted, padj), de_real=frame(observed, padj), nan_lfc_policy="keep")
    assert lfc_nmae(predicted, observed, genes=(padj < 0.05) & (np.arange(50) != 10)) == pytest.approx(theirs["G010"])
