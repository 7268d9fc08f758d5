"""Exponential moving average of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


class WeightAverage:
    """Moving average of parameters, which is what is evaluated and kept.

    The decay is lowered at the beginning to ``(1 + step) / (10 + step)`` so that the random start is soon forgotten.

    Parameters
    ----------
    parameters
        Parameters to follow.
    decay
        Share kept at every step.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay, self.step = list(parameters), decay, 0
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the present parameters."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange averaged and present parameters, in place; calling it again undoes it."""
        for value, parameter in zip(self.values, self.parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)


def snapshot(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Copy of the parameters."""
    return [p.detach().clone() for p in parameters]


@torch.no_grad()
def restore(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    """Write a :func:`snapshot` back."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
