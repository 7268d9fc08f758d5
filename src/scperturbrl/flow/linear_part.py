"""The straight line beside the flow: the effect that an additive model fitted to the training conditions predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from scperturbrl.flow.condition_encoder import ConditionBatch


class LinearPart(nn.Module):
    """Coefficients of the additive model, and how far generated means are moved towards its predictions.

    Group 0 pools all control groups; it serves conditions with a perturbation that their own group never saw.

    Parameters
    ----------
    n_groups, n_tokens, n_latent
        Control groups with training conditions, known perturbations P, and coordinates d.

    Attributes
    ----------
    coefficients
        ``(n_groups + 1, P + 1, d)`` latent effect of a perturbation at amount 1; token 0 has none.
    covered
        ``(n_groups + 1, P + 1)`` 1 where the group's training conditions tell something of the perturbation.
    weight
        Share in [0, 1] of the way from the flow's mean to the linear one.
    full_dose
        Dose at which the amount is 1.
    """

    coefficients: Tensor
    covered: Tensor
    weight: Tensor
    full_dose: Tensor

    def __init__(self, n_groups: int, n_tokens: int, n_latent: int) -> None:
        super().__init__()
        self.register_buffer("coefficients", torch.zeros(n_groups + 1, n_tokens + 1, n_latent))
        self.register_buffer("covered", torch.zeros(n_groups + 1, n_tokens + 1))
        self.register_buffer("weight", torch.tensor(0.0))
        self.register_buffer("full_dose", torch.tensor(1.0))

    def amount(self, dose: Tensor) -> Tensor:
        """How much of a perturbation a dose is: ``log1p(dose) / log1p(full_dose)``, or 1 without a dose."""
        return torch.where(dose > 0, torch.log1p(dose) / torch.log1p(self.full_dose), 1.0)

    def forward(self, conditions: ConditionBatch, group: Tensor) -> tuple[Tensor, Tensor]:
        """Predict latent effects.

        Parameters
        ----------
        conditions
            C conditions.
        group
            ``(C,)`` control group of each, 0 for one without training conditions.

        Returns
        -------
        Effects ``(C, d)``, and whether every perturbation of the condition was trained on ``(C,)``; without that the
        effect is 0 and means nothing.
        """
        tokens, present = conditions.tokens, conditions.present.bool()
        own = (self.covered[group[:, None], tokens].bool() | ~present).all(1)
        row = torch.where(own, group, 0)[:, None]
        known = (self.covered[row, tokens].bool() | ~present).all(1) & present.any(1)
        effect = (self.coefficients[row, tokens] * present[..., None]).sum(1) * self.amount(conditions.dose)[:, None]
        return effect * known[:, None], known


def recentring_weight(flow: Tensor, linear: Tensor, real: Tensor, *, prior: float = 0.25, most: float = 0.5) -> float:
    """Share of the way from the flow's means to the linear ones that comes closest to the real means.

    Least squares over held-out conditions, ``sum (real - flow) (linear - flow) / sum (linear - flow)^2``, with one more
    condition's worth of evidence for `prior`. Held-out conditions are few, so the weight starts low and never
    passes `most`: the linear mean is a straight line, the flow knows more of the shape.

    Parameters
    ----------
    flow, linear, real
        ``(C, d)`` means of C held-out conditions.
    prior
        Weight without any evidence.
    most
        Largest weight.
    """
    if not len(flow):
        return prior
    gap = linear - flow
    size = float(gap.square().sum())
    found = float(((real - flow) * gap).sum()) / max(size, 1e-12)
    found = min(max(found, 0.0), 1.0)
    return min((found * len(flow) + prior) / (len(flow) + 1), most)
