"""Whether a cell is still the kind of cell that it started as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scperturbrl.verifiers.base import Verifier, field_of

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference


def identity_retention() -> Verifier:
    """Identity retention: is a perturbed T cell still a T cell?

    The probability that a logistic model gives to the cell's own covariates (cell type, line or patient, whatever was
    declared). The model is fitted to real training cells, perturbed and control, with equal weight for each combination of
    covariates; so what a perturbation does to a cell does not count against it.

    Returns
    -------
    A safeguard in [0, 1]. NaN where the data have only one combination of covariates.

    Notes
    -----
    It blocks rewards gained by drifting towards another cell type in which the perturbation acts more strongly.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.identity_retention().range
    (0.0, 1.0)
    """
    return Verifier(
        name="identity_retention",
        score=_score,
        label="Identity retention",
        description="Probability of the cell's own cell type (or other covariates) under a logistic model.",
        range=(0.0, 1.0),
        needs=("group", "identity_weight", "identity_bias"),
        safeguard=True,
        source="Our own.",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    weight = field_of(reference, "identity_weight").to(cells.dtype)
    if weight.shape[1] == 0:
        return cells.new_full(cells.shape[:2], torch.nan)
    logits = cells @ weight + field_of(reference, "identity_bias").to(cells.dtype)
    own = field_of(reference, "group").view(-1, 1, 1).expand(-1, cells.shape[1], 1)
    return torch.softmax(logits, dim=-1).gather(-1, own).squeeze(-1)
