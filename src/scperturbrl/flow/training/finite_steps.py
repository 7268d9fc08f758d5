"""Optimiser steps that are skipped if a value is not finite."""

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
    """Optimiser steps that skip non-finite values, and decide when to restore the last good state or to stop.

    After three failures in a row the last good state should be restored. After three more before the next good state,
    training should stop.

    Parameters
    ----------
    parameters
        Parameters that are trained, by name.
    clip
        Largest norm of the gradient.
    conditions
        Names of the conditions, for messages.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], *, clip: float, conditions: Sequence[str] | None = None
    ) -> None:
        self.parameters, self.clip, self.conditions = dict(parameters), clip, conditions
        self.skipped = self.in_a_row = 0
        self.restored = False
        self.first = self.last = ""

    def step(self, optimiser: torch.optim.Optimizer, losses: Tensor, codes: Tensor) -> float:
        """Minimise the mean of `losses` ``(n,)`` of the conditions `codes` ``(n,)``; return it, or NaN if skipped."""
        optimiser.zero_grad(set_to_none=True)
        loss = mean_of_all(losses)
        if not math.isfinite(float(loss.detach())):
            return self._failed("the loss", codes[~torch.isfinite(losses.detach())])
        loss.backward()
        add_up_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.clip)
        # no single condition is the cause, but the largest losses are the most suspicious
        worst = codes[losses.detach().argsort(descending=True)]
        if not math.isfinite(float(norm)):
            gradients = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
            return self._failed(f"the gradient of {_first_bad(gradients)}", worst)
        optimiser.step()
        bad = _first_bad(self.parameters)
        if bad:
            # only the last good state can undo such a step
            self.in_a_row = max(self.in_a_row, PATIENCE - 1)
            return self._failed(f"the weight {bad}", worst)
        self.in_a_row = 0
        return float(loss.detach())

    def reject(self, what: str, codes: Tensor) -> None:
        """Record a skipped step, because `what` is not finite for the conditions `codes`."""
        self._failed(what, codes)

    def good(self) -> bool:
        """Whether the current state is good; if so, reset the count of failures."""
        self.restored = self.restored and self.in_a_row > 0
        return self.in_a_row == 0

    def must_go_back(self) -> bool:
        """Whether the last good state should be restored now; True only once."""
        if self.in_a_row < PATIENCE or self.restored:
            return False
        self.in_a_row, self.restored = 0, True
        return True

    def reason_to_end(self) -> str:
        """Why training must stop, or an empty string."""
        return f"not finite: {self.last}" if self.restored and self.in_a_row >= PATIENCE else ""

    def state(self) -> dict[str, int | bool | str]:
        """State for :meth:`load`."""
        names = ("skipped", "in_a_row", "restored", "first", "last")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, int | bool | str]) -> None:
        """Continue from a :meth:`state`."""
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
    """Name of the first tensor that is not finite, or an empty string."""
    norms = torch._foreach_norm([tensor.detach() for tensor in tensors.values()])
    if bool(torch.isfinite(torch.stack(norms)).all()):
        return ""
    # the norm may overflow although all values are finite
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), "")


def skipped_message(skipped: int, first: str, what: str) -> str:
    """Message of the warning on skipped steps."""
    return f"{skipped} {what} were left out because they were not finite; the first time it was {first}."
