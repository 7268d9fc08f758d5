"""Exponential moving average of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


class WeightAverage:
    """Moving average of parameters, which is evaluated and stored.

    The decay is lowered at the beginning to ``(1 + step) / (10 + step)`` so that the initial weights have little
    influence.

    Parameters
    ----------
    parameters
        Parameters to follow.
    decay
        Decay per step.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay, self.step = list(parameters), decay, 0
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current parameters."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange averaged and current parameters, in place; calling it again undoes it."""
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
