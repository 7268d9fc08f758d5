"""Whether the perturbed gene itself changes as in real cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference
    from scperturbrl.verifiers.prepared import ReferenceCells


def _targets(cells: ReferenceCells) -> np.ndarray:
    width = max(1, int(cells.targets.sum(1).max(initial=0)))
    found = np.full((len(cells.conditions), width), -1)
    for row, mask in zip(found, cells.targets, strict=True):
        genes = np.flatnonzero(mask)
        row[: len(genes)] = genes
    return found


TARGETS = Prepared("targets", _targets, scope="condition")
"""``(C, T)`` indices of the genes that the condition targets; -1 is padding."""


def target_direction() -> Verifier:
    """Target direction: does a knocked-down gene go down, an activated one up?

    With d the cell's effect on a targeted gene and m the mean effect in real cells, the mean over targets of
    ``clip(d / m, -1, 1)``: a larger change than in real cells scores no higher.

    Returns
    -------
    A verifier in [-1, 1]. NaN if no target is measured and responds, as for drugs.

    Notes
    -----
    It detects a response without a change of the targeted gene itself, which the other verifiers ignore.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.target_direction().reads
    ('control_mean', 'effect', 'targets')
    """
    return Verifier(
        name="target_direction",
        score=_score,
        label="Target direction",
        description="Whether the targeted genes change as much, and in the same direction, as in real cells.",
        range=(-1.0, 1.0),
        needs=("control_mean", "effect"),
        prepares=(TARGETS,),
        source="Our own.",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    targets = reference.targets
    genes = targets.clamp_min(0)
    mean = reference.effect.gather(1, genes)
    responds = (targets >= 0) & (mean != 0)
    expression = cells.gather(2, genes.unsqueeze(1).expand(-1, cells.shape[1], -1))
    effect = expression - reference.control_mean.gather(1, genes).unsqueeze(1)
    share = (effect / mean.masked_fill(~responds, 1).unsqueeze(1)).clamp(-1, 1)
    used = responds.unsqueeze(1)
    # for a condition without targets, 0 / 0 gives the intended NaN
    return torch.where(used, share, 0).sum(-1) / used.sum(-1)
