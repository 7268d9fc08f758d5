"""Solving the flow's ordinary differential equation from noise (t = 0) to cell (t = 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    Field = Callable[[Tensor, Tensor], Tensor]

SOLVERS = ("euler", "midpoint", "heun", "rk4")


def integrate(
    field: Field, noise: Tensor, *, n_steps: int = 5, solver: str = "midpoint", grad_steps: int = 0
) -> Tensor:
    """Carry noise to cells.

    Parameters
    ----------
    field
        ``field(x, t)`` with x ``(n, d)`` and t ``(n,)`` returns the velocity ``(n, d)``.
    noise
        ``(n, d)`` starting points.
    n_steps
        Equal steps of time.
    solver
        ``"euler"`` (1 evaluation a step), ``"midpoint"``, ``"heun"`` (2) or ``"rk4"`` (4).
    grad_steps
        How many of the last steps keep the gradient; the others are detached.

    Returns
    -------
    ``(n, d)`` end points.

    Raises
    ------
    ValueError
        If `solver` is unknown.

    Examples
    --------
    >>> import torch
    >>> end = integrate(lambda x, t: torch.ones_like(x), torch.zeros(1, 1), n_steps=5)
    >>> round(end.item(), 4)
    1.0
    """
    if solver not in SOLVERS:
        msg = f"`solver` is {solver!r}; it must be one of {SOLVERS}."
        raise ValueError(msg)
    x, h = noise, 1 / n_steps
    for step in range(n_steps):
        with torch.set_grad_enabled(torch.is_grad_enabled() and step >= n_steps - grad_steps):
            t = torch.full((len(x),), step * h, device=x.device)
            x = x + h * _increment(field, x, t, h, solver)
    return x


def _increment(field: Field, x: Tensor, t: Tensor, h: float, solver: str) -> Tensor:
    first = field(x, t)
    if solver == "euler":
        return first
    if solver == "heun":
        return (first + field(x + h * first, t + h)) / 2
    middle = field(x + h / 2 * first, t + h / 2)
    if solver == "midpoint":
        return middle
    third = field(x + h / 2 * middle, t + h / 2)
    return (first + 2 * middle + 2 * third + field(x + h * third, t + h)) / 6
