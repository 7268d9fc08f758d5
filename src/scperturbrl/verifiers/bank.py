"""Compare cells with the bank of real cells, but never with themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference

SAME_CELL = 1e-6
"""Largest difference in any gene, in log-normalised units, at which two cells count as identical."""

SUSPICION = 1e-2
"""Relative error of a matrix product for identical cells, large enough for TF32 on GPUs."""

MAX_PAIRS = 2**18
"""Number of pairs compared gene by gene at a time; bounds memory if many cells are similar."""


def bank_effects(reference: Reference, genes: Tensor) -> tuple[Tensor, Tensor]:
    """Effects of the bank cells at `genes` ``(C, k)``, the first k ranked genes, and which rows are cells.

    Returns
    -------
    ``(C, M, k)`` expression minus the control mean, 0 in padding rows, and ``(C, M)`` boolean, False for padding.
    """
    effects = reference.bank[..., : genes.shape[1]] - reference.control_mean.gather(1, genes).unsqueeze(1)
    valid = ~effects.isnan().any(-1)
    return effects.masked_fill(~valid.unsqueeze(-1), 0), valid


def best_matches(
    similarity: Tensor, cells: Tensor, bank: Tensor, valid: Tensor, *, suspects: Tensor, n_cells: int
) -> tuple[Tensor, Tensor]:
    """Find the bank cells most similar to each cell, leaving out padding and the cell itself.

    Parameters
    ----------
    similarity
        ``(C, n, M)``, higher is more similar.
    cells, bank
        ``(C, n, k)`` and ``(C, M, k)``: the data from which `similarity` was computed.
    valid
        ``(C, M)`` which bank rows are cells.
    suspects
        ``(C, n, M)`` boolean, the pairs that may be the same cell. Only these are compared gene by gene, because the
        rounding error of a matrix product is larger than :data:`SAME_CELL`.
    n_cells
        Number of bank cells to keep.

    Returns
    -------
    ``(C, n, min(n_cells, M))`` similarities, unsorted, and which of them are valid. If fewer bank cells are left than
    `n_cells`, the other entries are 0 and not valid.
    """
    pairs = suspects.nonzero()
    c, i, j = pairs.unbind(1)
    same = torch.cat([_same_cell(cells, bank, part) for part in pairs.split(MAX_PAIRS)])
    left_out = (~valid).unsqueeze(1).expand_as(similarity).index_put((c, i, j), ~valid[c, j] | same)
    best = similarity.masked_fill(left_out, -torch.inf).topk(min(n_cells, bank.shape[1]), dim=-1, sorted=False).values
    counted = best != -torch.inf
    return best.masked_fill(~counted, 0), counted


def _same_cell(cells: Tensor, bank: Tensor, pairs: Tensor) -> Tensor:
    c, i, j = pairs.unbind(1)
    return (cells.detach()[c, i] - bank[c, j]).abs().amax(-1) < SAME_CELL
