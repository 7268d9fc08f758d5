"""From generated cells to rewards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from scperturbrl.verifiers.calibration import Calibration, calibrate, combine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.verifiers.base import Reference, Verifier


class Scores(NamedTuple):
    """Raw and rewarded scores ``(C, n, V)``, and the combined reward ``(C, n)``."""

    raw: Tensor
    rewarded: Tensor
    reward: Tensor


@dataclass(frozen=True)
class Reward:
    """Verifiers with their reference and calibration.

    Attributes
    ----------
    verifiers
        V verifiers.
    reference, calibration
        Of the C conditions that can be rewarded.
    weights
        ``(V,)`` importance of each verifier.
    calibrated
        Whether scores are calibrated and clipped at a typical real cell, or used raw. Raw scores reproduce the published
        rewards and are open to reward hacking.
    """

    verifiers: Sequence[Verifier]
    reference: Reference
    calibration: Calibration
    weights: Tensor
    calibrated: bool = True

    @property
    def verifier_weight(self) -> Tensor:
        """``(C, V)`` weight of each verifier in each condition; 0 where it does not discriminate real from control cells."""
        return self.calibration.weight * self.weights

    def to(self, device: torch.device | str) -> Reward:
        """The same with every tensor on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("reference", "calibration", "weights")}
        return replace(self, **moved)

    def informative(self) -> Tensor:
        """``(C,)`` whether any verifier discriminates in the condition."""
        return self.verifier_weight.sum(1) > 0

    def __call__(self, cells: Tensor, index: Tensor) -> Scores:
        """Score cells ``(C', n, G)`` of the conditions at `index` ``(C',)``."""
        reference, calibration = self.reference.select(index), self.calibration.select(index)
        # a verifier without gradients may convert cells to NumPy, which tensors with gradients do not allow
        seen = [cells if verifier.differentiable else cells.detach() for verifier in self.verifiers]
        raw = torch.stack([v(x, reference) for v, x in zip(self.verifiers, seen, strict=True)], dim=-1)
        position = calibrate(raw, calibration)
        rewarded = position if self.calibrated else raw
        return Scores(raw, rewarded, combine(position, calibration, self.weights))
