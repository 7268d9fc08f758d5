"""Measured beside denoised effects."""

from __future__ import annotations

import pandas as pd

import scperturbrl as spr
from benchmarks import denoising
from scperturbrl.data.cells.cells import Cells


def test_denoised_effects_of_few_cells_predict_better():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=200, n_cells_per_condition=25, fraction_additive=1.0, fraction_buffered=0.0, fraction_epistatic=0.0
    )
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="combinations", fraction=0.3)
    found = denoising.errors(Cells.of(adata))
    assert 0 < found["denoised"] < 0.95 * found["measured"]


def test_the_summary_counts_screens_and_sums_errors():
    results = pd.DataFrame({"suite": "x", "measured": [1.0, 3.0], "denoised": [0.5, 3.5]})
    assert "| x | 2 | 1 | 1.00 |" in denoising.summary(results)
