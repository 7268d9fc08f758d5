"""Rank agreement of a cell's effect with the condition's mean effect, at its differentially expressed genes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.stats import average_ranks, pearson, soft_ranks
from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.genes import MIN_GENES, cell_effects, mean_effects, top_genes

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scperturbrl.verifiers.base import Reference


def de_spearman(*, soft: bool = False, min_genes: int = 20, max_genes: int = 200, temperature: float = 0.1) -> Verifier:
    """DE Spearman: does the cell order the differentially expressed genes as the condition does?

    The genes are the significant genes of the reference in the order of the ranking, at least `min_genes` and at most
    `max_genes`. Ties get average ranks.

    Parameters
    ----------
    soft
        Use soft ranks, which have gradients (:func:`scperturbrl._core.stats.soft_ranks`). Memory is proportional to the
        square of the number of genes.
    min_genes, max_genes
        Bounds on the number of genes.
    temperature
        Temperature of the soft ranks, as a share of the standard deviation of the cell's effect. Not used with hard
        ranks.

    Returns
    -------
    A verifier in [-1, 1]. A cell whose effect is the same in every gene scores 0. NaN for a condition with fewer
    than three ranked genes.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.de_spearman().differentiable, verifiers.de_spearman(soft=True).differentiable
    (False, True)
    """
    if not 1 <= min_genes <= max_genes:
        msg = f"`min_genes` is {min_genes} and `max_genes` {max_genes}; expected 1 <= min_genes <= max_genes."
        raise ValueError(msg)
    ranks: Callable[..., Tensor] = partial(soft_ranks, temperature=temperature) if soft else average_ranks
    params = {"soft": soft, "min_genes": min_genes, "max_genes": max_genes}
    return Verifier(
        name="de_spearman",
        score=partial(_score, ranks=ranks, min_genes=min_genes, max_genes=max_genes),
        label="DE Spearman",
        description="Rank correlation of the cell's effect with the mean effect of the condition at its "
        "differentially expressed genes.",
        range=(-1.0, 1.0),
        needs=("control_mean", "effect", "ranked_genes", "n_significant"),
        differentiable=soft,
        source="Third reward named by PerturbCellRL (arXiv:2606.27752); the formula is our interpretation.",
        params=params | ({"temperature": temperature} if soft else {}),
    )


def _score(
    cells: Tensor, reference: Reference, *, ranks: Callable[..., Tensor], min_genes: int, max_genes: int
) -> Tensor:
    wanted = reference.n_significant.clamp(min_genes, max_genes)
    # Only as wide as needed for the condition with the most genes, because sorting dominates the cost.
    genes = top_genes(reference, int(wanted.max()))
    used = torch.arange(genes.shape[1], device=genes.device) < wanted.unsqueeze(-1)
    mask = used.unsqueeze(1)
    rank_of_cell = ranks(cell_effects(cells, reference, genes), mask=mask)
    rank_of_mean = average_ranks(mean_effects(reference, genes), mask)
    score = pearson(rank_of_cell, rank_of_mean, mask)
    return score.masked_fill(used.sum(-1, keepdim=True) < MIN_GENES, torch.nan)
