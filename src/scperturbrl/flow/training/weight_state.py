"""Weights during training: copies, moving average, and everything on which the next update depends."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


@dataclass
class WeightState:
    """Parameters with their optimisers and moving average.

    Attributes
    ----------
    parameters
        Parameters that are trained.
    optimisers
        Their optimisers.
    average
        Their moving average.
    old
        Parameters that follow them in another way, such as those of the rollout policy.
    """

    parameters: Sequence[nn.Parameter]
    optimisers: Sequence[torch.optim.Optimizer]
    average: WeightAverage
    old: Sequence[nn.Parameter] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """Copy of everything, made of plain values and tensors."""
        return {
            "parameters": snapshot(self.parameters),
            "old": snapshot(self.old),
            "average": {"values": copy.deepcopy(self.average.values), "step": self.average.step},
            "optimisers": [_numbered(copy.deepcopy(optimiser.state_dict())) for optimiser in self.optimisers],
        }

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a :meth:`state`, which is not changed.

        Raises
        ------
        ValueError
            If it belongs to other parameters.
        """
        # optimisers keep references to the given tensors and change them
        state = copy.deepcopy(dict(state))
        shapes = [tuple(value.shape) for value in state["parameters"]]
        if shapes != [tuple(parameter.shape) for parameter in self.parameters]:
            msg = f"The state has weights with shapes {shapes[:3]}..., which are not those of this generator."
            raise ValueError(msg)
        restore(self.parameters, state["parameters"])
        restore(self.old, state["old"])
        for own, value in zip(self.average.values, state["average"]["values"], strict=True):
            own.copy_(value)
        self.average.step = state["average"]["step"]
        for optimiser, values in zip(self.optimisers, state["optimisers"], strict=True):
            values["state"] = {int(number): value for number, value in values["state"].items()}
            optimiser.load_state_dict(values)


def _numbered(state: dict[str, Any]) -> dict[str, Any]:
    """State of an optimiser with strings as keys, for JSON."""
    return {**state, "state": {str(number): value for number, value in state["state"].items()}}
