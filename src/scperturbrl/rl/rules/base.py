"""Input and output of every update rule.

All rules pull towards the same population: that of the pretrained generator, reweighted by ``exp(A / (2 anchor))`` with A
the advantage. So `anchor` has the same meaning for every rule; each rule documents how closely it approximates this population.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from scperturbrl.flow.path import GAUSSIAN

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from scperturbrl.flow.path import Source

    Field = Callable[[Tensor, Tensor], Tensor]
    """Velocity ``(n, d)`` at positions ``(n, d)`` and times ``(n,)``, each row with a condition of its own."""


class Fields(NamedTuple):
    """Velocities being trained, of the policy that generated, and of the pretrained generator."""

    trained: Field
    old: Field
    pretrained: Field


@dataclass(frozen=True)
class Batch:
    """Generated cells and their advantages.

    Attributes
    ----------
    latent
        ``(n, d)`` generated cells.
    control
        ``(n, d)`` the control cells they were made from.
    advantage
        ``(n,)`` reward of each cell relative to the other cells of its condition.
    source
        Where their paths start.
    path
        ``(K + 1, n, d)`` states that led to them, for rules with their own sampler.
    reward
        Function from cells ``(n, d)`` to rewards ``(n,)`` in units of the advantage, with gradients.
    """

    latent: Tensor
    control: Tensor
    advantage: Tensor
    source: Source = GAUSSIAN
    path: Tensor | None = None
    reward: Callable[[Tensor], Tensor] | None = None


class UpdateRule(Protocol):
    """Turns a batch into a loss."""

    def __call__(self, fields: Fields, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Loss ``(n,)`` and squared distance ``(n,)`` of the trained to the pretrained velocity."""
        ...


@runtime_checkable
class PathRule(UpdateRule, Protocol):
    """A rule with its own sampler for the paths that it is trained on."""

    def sample(self, field: Field, noise: Tensor, rng: torch.Generator) -> Tensor:
        """Path ``(K + 1, n, d)`` from `noise` to cells."""
        ...


@dataclass(frozen=True)
class Rule:
    """An update rule by its name, and what it needs.

    Attributes
    ----------
    name
        The value of `update_rule`.
    make
        Builds the rule: ``make(anchor=, beta=)``.
    needs_gradients
        Whether only verifiers with gradients can be rewarded.
    needs_anchor
        Whether the weight of the pretrained generator must be above 0.
    needs_noise
        Whether the generator must start at noise instead of control cells.
    """

    name: str
    make: Callable[..., UpdateRule]
    needs_gradients: bool = False
    needs_anchor: bool = False
    needs_noise: bool = False
