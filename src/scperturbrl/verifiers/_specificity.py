"""Whether a cell resembles its own condition more than other perturbations."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.stats import standardise
from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.genes import MIN_GENES, cell_effects, top_genes
from scperturbrl.verifiers.prepared import Prepared

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference
    from scperturbrl.verifiers.prepared import ReferenceCells


def _rivals(cells: ReferenceCells) -> np.ndarray:
    label = cells.perturbations
    rivals = (cells.group[:, None] == cells.group) & (label[:, None] != label)
    # an estimated effect is a competitor only if no effect was measured
    return rivals if cells.is_pseudo.all() else rivals & ~cells.is_pseudo


ALL_EFFECTS = Prepared("all_effects", lambda cells: cells.effect, scope="all")
"""``(A, G)`` shrunk mean effects of all conditions with a reference."""

RIVALS = Prepared("rivals", _rivals, scope="condition")
"""``(C, A)`` boolean: other perturbations measured with the same covariates."""


def specificity(*, n_genes: int = 200, temperature: float = 0.1) -> Verifier:
    """Specificity: is the effect more like that of its own condition than like others?

    With r_p the correlation of the cell's effect with the mean effect of condition p at the first ranked genes of the
    cell's condition, the score is ``r_own - t log mean_q exp(r_q / t)`` over the other perturbations q measured with
    the same covariates: the difference to a soft maximum of these.

    Parameters
    ----------
    n_genes
        Number of ranked genes to compare; fewer if there are fewer.
    temperature
        t: near 0, only the most similar other perturbation counts; for large values, all count equally.

    Returns
    -------
    A verifier in [-2, 2]. NaN for a condition with fewer than three ranked genes or without other perturbations.

    Notes
    -----
    It detects the average perturbation response, which correlates weakly with every condition.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.specificity(n_genes=50).params
    {'n_genes': 50, 'temperature': 0.1}
    """
    if n_genes < MIN_GENES or not temperature > 0:
        msg = f"`n_genes` is {n_genes} and `temperature` {temperature}; expected at least {MIN_GENES} and above 0."
        raise ValueError(msg)
    return Verifier(
        name="specificity",
        score=partial(_score, n_genes=n_genes, temperature=temperature),
        label="Specificity",
        description="How much better the cell's effect fits its own condition than the other perturbations.",
        range=(-2.0, 2.0),
        needs=("control_mean", "effect", "ranked_genes"),
        prepares=(ALL_EFFECTS, RIVALS),
        source="Our own; subtracting the shared response follows Systema (doi:10.1038/s41587-025-02777-8).",
        params={"n_genes": n_genes, "temperature": temperature},
    )


def _score(cells: Tensor, reference: Reference, *, n_genes: int, temperature: float) -> Tensor:
    genes = top_genes(reference, n_genes)
    rivals = reference.rivals
    if genes.shape[1] < MIN_GENES:
        return cells.new_full(cells.shape[:2], torch.nan)
    effects = standardise(cell_effects(cells, reference, genes))
    own = standardise(reference.effect.gather(1, genes)).unsqueeze(-1)
    others = standardise(reference.all_effects.to(cells.dtype)[:, genes].transpose(0, 1))
    lead = (effects @ own).squeeze(-1)
    against = (effects @ others.mT / temperature).masked_fill(~rivals.unsqueeze(1), -math.inf)
    count = rivals.sum(-1, keepdim=True)
    # a condition without other perturbations has nothing to sum; its score is set to NaN, but its gradient must not be
    # NaN
    against = against.masked_fill(count.unsqueeze(-1) == 0, 0)
    soft = temperature * (torch.logsumexp(against, dim=-1) - count.clamp_min(1).to(cells.dtype).log())
    return (lead - soft).clamp(-2, 2).masked_fill(count == 0, torch.nan)
