"""Pearson correlation of a cell's effect with real effects, at the condition's top genes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import torch

from scperturbrl._core.stats import pearson, standardise
from scperturbrl.verifiers.bank import SUSPICION, bank_effects, best_matches
from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.genes import MIN_GENES, cell_effects, check_topk, mean_effects, top_genes

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference


def pearson_topk(*, reference: Literal["cells", "genes"] = "cells", n_genes: int = 50, n_cells: int = 10) -> Verifier:
    """Pearson top-k similarity: does the cell change the top genes in the same proportions as real cells?

    Parameters
    ----------
    reference
        ``"cells"`` correlates the cell's effect with that of every real cell in the bank and averages the `n_cells`
        largest correlations; a bank cell identical to the scored one is left out.
        ``"genes"`` correlates it with the mean effect of the condition.
    n_genes
        Number of ranked genes to compare; fewer if the reference has fewer.
    n_cells
        Number of most similar bank cells to average; fewer if the bank has fewer. Not used with ``"genes"``.

    Returns
    -------
    A verifier in [-1, 1]. A cell whose effect is the same in every gene scores 0. NaN for a condition without bank
    cells (``"cells"``) and with fewer than three ranked genes.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.pearson_topk(reference="genes", n_genes=20).needs
    ('control_mean', 'ranked_genes', 'effect')
    """
    check_topk(reference, n_genes=n_genes, n_cells=n_cells)
    to_cells = reference == "cells"
    return Verifier(
        name="pearson_topk",
        score=partial(_to_cells, n_genes=n_genes, n_cells=n_cells) if to_cells else partial(_to_genes, n_genes=n_genes),
        label="Pearson top-k similarity",
        description=f"Correlation of the cell's effect at the top {n_genes} genes with "
        + (f"that of its {n_cells} most similar real cells." if to_cells else "the mean effect of the condition."),
        range=(-1.0, 1.0),
        needs=("control_mean", "ranked_genes", "bank" if to_cells else "effect"),
        source="First reward named by PerturbCellRL (arXiv:2606.27752); the formula is our interpretation.",
        params={"reference": reference, "n_genes": n_genes} | ({"n_cells": n_cells} if to_cells else {}),
    )


def _to_cells(cells: Tensor, reference: Reference, *, n_genes: int, n_cells: int) -> Tensor:
    genes = top_genes(reference, n_genes, in_bank=True)
    if genes.shape[1] < MIN_GENES:
        return cells.new_full(cells.shape[:2], torch.nan)
    effects = cell_effects(cells, reference, genes)
    bank, valid = bank_effects(reference, genes)
    correlation = standardise(effects) @ standardise(bank).mT
    best, counted = best_matches(
        correlation, effects, bank, valid, suspects=correlation.detach() > 1 - SUSPICION, n_cells=n_cells
    )
    return (best.sum(-1) / counted.sum(-1)).clamp(-1, 1)


def _to_genes(cells: Tensor, reference: Reference, *, n_genes: int) -> Tensor:
    genes = top_genes(reference, n_genes)
    if genes.shape[1] < MIN_GENES:
        return cells.new_full(cells.shape[:2], torch.nan)
    return pearson(cell_effects(cells, reference, genes), mean_effects(reference, genes))
