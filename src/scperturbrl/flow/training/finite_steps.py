"""Optimiser steps that are taken only if everything in them is finite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.distributed import add_up_gradients, mean_of_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

PATIENCE = 3


class FiniteSteps:
    """Takes optimiser steps, leaves out those that are not finite, and knows when to go back and when to stop.

    After three failures in a row the last good state is to be restored; after three more before there is another good
    state, training is to stop.

    Parameters
    ----------
    parameters
        Parameters that are trained, by name.
    clip
        Largest norm of the gradient.
    conditions
        Names of the conditions, to say which were involved.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], *, clip: float, conditions: Sequence[str] | None = None
    ) -> None:
        self.parameters, self.clip, self.conditions = dict(parameters), clip, conditions
        self.skipped = self.in_a_row = 0
        self.restored = False
        self.first = self.last = ""

    def step(self, optimiser: torch.optim.Optimizer, losses: Tensor, codes: Tensor) -> float:
        """Descend the mean of `losses` ``(n,)`` of the conditions `codes` ``(n,)``; returns it, NaN if it was left out."""
        optimiser.zero_grad(set_to_none=True)
        loss = mean_of_all(losses)
        if not math.isfinite(float(loss.detach())):
            return self._failed("the loss", codes[~torch.isfinite(losses.detach())])
        loss.backward()
        add_up_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.clip)
        # no single condition is at fault, but the largest losses are where to look
        worst = codes[losses.detach().argsort(descending=True)]
        if not math.isfinite(float(norm)):
            gradients = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
            return self._failed(f"the gradient of {_first_bad(gradients)}", worst)
        optimiser.step()
        bad = _first_bad(self.parameters)
        if bad:
            # there is no way back from such a step but the last good state
            self.in_a_row = max(self.in_a_row, PATIENCE - 1)
            return self._failed(f"the weight {bad}", worst)
        self.in_a_row = 0
        return float(loss.detach())

    def reject(self, what: str, codes: Tensor) -> None:
        """Record that no step could be taken because `what` is not finite for the conditions `codes`."""
        self._failed(what, codes)

    def good(self) -> bool:
        """Whether the present state may be taken for a good one; if so, earlier failures are forgiven."""
        self.restored = self.restored and self.in_a_row > 0
        return self.in_a_row == 0

    def must_go_back(self) -> bool:
        """Whether the last good state is to be restored now; says so once."""
        if self.in_a_row < PATIENCE or self.restored:
            return False
        self.in_a_row, self.restored = 0, True
        return True

    def reason_to_end(self) -> str:
        """Why training must stop, or nothing."""
        return f"not finite: {self.last}" if self.restored and self.in_a_row >= PATIENCE else ""

    def state(self) -> dict[str, int | bool | str]:
        """What :meth:`load` takes."""
        names = ("skipped", "in_a_row", "restored", "first", "last")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, int | bool | str]) -> None:
        """Go on from a :meth:`state`."""
        for name, value in state.items():
            setattr(self, name, value)

    def _failed(self, what: str, codes: Tensor) -> float:
        self.skipped += 1
        self.in_a_row += 1
        self.last = f"{what}{self._names(codes)}"
        self.first = self.first or self.last
        return math.nan

    def _names(self, codes: Tensor) -> str:
        found = list(dict.fromkeys(codes.tolist()))
        names = [repr(self.conditions[i]) if self.conditions else f"number {i}" for i in found[:3]]
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        return f" (conditions {', '.join(names)}{more})" if names else ""


def _first_bad(tensors: Mapping[str, Tensor]) -> str:
    """Name of the first tensor that is not finite, or nothing."""
    norms = torch._foreach_norm([tensor.detach() for tensor in tensors.values()])
    if bool(torch.isfinite(torch.stack(norms)).all()):
        return ""
    # a norm may overflow although no value does
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), "")


def skipped_message(skipped: int, first: str, what: str) -> str:
    """Sentence for the warning that steps were left out."""
    return f"{skipped} {what} were left out because they were not finite; the first time it was {first}."
