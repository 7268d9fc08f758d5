"""The genes that a verifier compares: the first genes of the reference's ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference

MIN_GENES = 3
"""With fewer genes every correlation is extreme, so the verifiers return NaN."""


def top_genes(reference: Reference, n_genes: int, *, in_bank: bool = False) -> Tensor:
    """Indices ``(C, k)`` of the first `n_genes` ranked genes, or as many as there are (in the bank, if requested)."""
    available = reference.bank.shape[-1] if in_bank else reference.ranked_genes.shape[-1]
    return reference.ranked_genes[:, : min(n_genes, available)]


def cell_effects(cells: Tensor, reference: Reference, genes: Tensor) -> Tensor:
    """Expression of `cells` ``(C, n, G)`` minus the control mean, at `genes` ``(C, k)``; returns ``(C, n, k)``."""
    chosen = cells.gather(2, genes.unsqueeze(1).expand(-1, cells.shape[1], -1))
    return chosen - reference.control_mean.gather(1, genes).unsqueeze(1)


def mean_effects(reference: Reference, genes: Tensor) -> Tensor:
    """Mean effect of each condition at `genes` ``(C, k)``; returns ``(C, 1, k)``."""
    return reference.effect.gather(1, genes).unsqueeze(1)


def check_topk(reference: str, *, n_genes: int, n_cells: int) -> None:
    """Raise an error for invalid settings of the top-k verifiers."""
    if reference not in {"cells", "genes"}:
        msg = f"`reference` is {reference!r}; expected 'cells' or 'genes'."
        raise ValueError(msg)
    if n_genes < MIN_GENES or n_cells < 1:
        msg = f"`n_genes` is {n_genes} and `n_cells` {n_cells}; expected at least {MIN_GENES} genes and 1 cell."
        raise ValueError(msg)
