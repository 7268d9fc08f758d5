"""Whether the genes that a condition does not change stay unchanged."""

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

MIN_SPREAD = 1e-2
HUBER = 1.0
QUIET_PADJ = 0.5
"""False discovery rate above which a gene counts as unchanged."""

MIN_QUIET = 10


def _quiet(cells: ReferenceCells) -> np.ndarray:
    quiet = (cells.padj > QUIET_PADJ) & ~cells.targets
    return quiet & (quiet.sum(1, keepdims=True) >= MIN_QUIET)


QUIET = Prepared("quiet", _quiet)
"""``(C, G)`` boolean: genes that the condition does not change."""

SPREAD = Prepared("spread", lambda cells: np.sqrt(cells.control_variance()), scope="condition")
"""``(C, G)`` standard deviation of expression over the control cells."""


def nonresponder_stability() -> Verifier:
    """Non-responder stability: do genes stay unchanged if they do not respond in real cells?

    Over the quiet genes of the condition (false discovery rate above one half, without targets), with z the cell's
    effect in standard deviations of the control cells, the score is ``1 / (1 + mean h(z) + |mean z|)``, where h is
    Huber's loss ``z^2 / 2``, linear beyond 1. The first mean detects changes of single genes, but is mostly noise in a
    single cell. In the second mean this noise averages out, so it detects small shifts of all genes.

    Returns
    -------
    A safeguard in (0, 1]. NaN for a condition without quiet genes.

    Notes
    -----
    It detects shifts of all genes, which the other verifiers miss because they compare top genes.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.nonresponder_stability().label
    'Non-responder stability'
    """
    return Verifier(
        name="nonresponder_stability",
        score=_score,
        label="Non-responder stability",
        description="How little non-responding genes change, relative to control cells.",
        range=(0.0, 1.0),
        needs=("control_mean",),
        prepares=(QUIET, SPREAD),
        safeguard=True,
        source="Our own, with the loss of Huber (1964, doi:10.1214/aoms/1177703732).",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    quiet = reference.quiet.to(cells.dtype)
    spread = reference.spread.to(cells.dtype).clamp_min(MIN_SPREAD).unsqueeze(1)
    z = (cells - reference.control_mean.unsqueeze(1)) / spread
    loss = torch.nn.functional.huber_loss(z, torch.zeros_like(z), reduction="none", delta=HUBER)
    count = quiet.sum(-1, keepdim=True)
    share = quiet.unsqueeze(-1) / count.clamp_min(1).unsqueeze(-1)
    score = 1 / (1 + (loss @ share).squeeze(-1) + (z @ share).squeeze(-1).abs())
    return score.masked_fill(count == 0, torch.nan)
