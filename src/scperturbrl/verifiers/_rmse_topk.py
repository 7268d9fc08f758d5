"""Distance of a cell's expression to real expression, at the condition's top genes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import torch

from scperturbrl.verifiers.bank import SUSPICION, bank_effects, best_matches
from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.genes import cell_effects, check_topk, mean_effects, top_genes

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference

# The gradient of the square root is infinite at 0, so mean squares are bounded from below; the error is below 1e-6 log
# units.
FLOOR = 1e-12


def rmse_topk(*, reference: Literal["cells", "genes"] = "cells", n_genes: int = 50, n_cells: int = 10) -> Verifier:
    """RMSE top-k proximity: is the cell's expression of the top genes close to that of real cells?

    The score is 1 / (1 + e). With ``"cells"`` e is the mean of the `n_cells` smallest root mean squared differences
    to bank cells; with ``"genes"`` the root mean squared difference to the control mean plus the mean effect.

    Parameters
    ----------
    reference
        ``"cells"`` or ``"genes"``, see above. A bank cell identical to the scored one is left out.
    n_genes
        Number of ranked genes to compare; fewer if the reference has fewer.
    n_cells
        Number of nearest bank cells to average; fewer if the bank has fewer. Not used with ``"genes"``.

    Returns
    -------
    A verifier in (0, 1]. NaN for a condition without bank cells (``"cells"``) or without ranked genes.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.rmse_topk(n_genes=20).params
    {'reference': 'cells', 'n_genes': 20, 'n_cells': 10}
    """
    check_topk(reference, n_genes=n_genes, n_cells=n_cells)
    to_cells = reference == "cells"
    return Verifier(
        name="rmse_topk",
        score=partial(_to_cells, n_genes=n_genes, n_cells=n_cells) if to_cells else partial(_to_genes, n_genes=n_genes),
        label="RMSE top-k proximity",
        description=f"Closeness of the cell's expression of the top {n_genes} genes to "
        + (f"that of its {n_cells} nearest real cells." if to_cells else "the mean expression of the condition."),
        range=(0.0, 1.0),
        needs=("control_mean", "ranked_genes", "bank" if to_cells else "effect"),
        source="Second reward named by PerturbCellRL (arXiv:2606.27752); the formula is our interpretation.",
        params={"reference": reference, "n_genes": n_genes} | ({"n_cells": n_cells} if to_cells else {}),
    )


def _to_cells(cells: Tensor, reference: Reference, *, n_genes: int, n_cells: int) -> Tensor:
    genes = top_genes(reference, n_genes, in_bank=True)
    if genes.shape[1] == 0:
        return cells.new_full(cells.shape[:2], torch.nan)
    # Use effects, because the expanded square loses less precision with small numbers.
    effects = cell_effects(cells, reference, genes)
    bank, valid = bank_effects(reference, genes)
    size = torch.linalg.vector_norm(effects, dim=-1).square().unsqueeze(-1)
    squares = torch.baddbmm(size, effects, bank.mT, alpha=-2)
    squares = squares + torch.linalg.vector_norm(bank, dim=-1).square().unsqueeze(1)
    suspects = squares.detach() <= SUSPICION * size.detach() + genes.shape[1] * FLOOR
    best, counted = best_matches(-squares, effects, bank, valid, suspects=suspects, n_cells=n_cells)
    errors = (-best / genes.shape[1]).clamp_min(FLOOR).sqrt().masked_fill(~counted, 0)
    return 1 / (1 + errors.sum(-1) / counted.sum(-1))


def _to_genes(cells: Tensor, reference: Reference, *, n_genes: int) -> Tensor:
    genes = top_genes(reference, n_genes)
    difference = cell_effects(cells, reference, genes) - mean_effects(reference, genes)
    return 1 / (1 + difference.square().mean(-1).clamp_min(FLOOR).sqrt())
