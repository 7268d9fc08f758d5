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
    field: Field, x: Tensor, *, n_steps: int = 5, solver: str = "midpoint", steps: range | None = None
) -> Tensor:
    """Integrate from noise to cells, or over some of the steps.

    Parameters
    ----------
    field
        ``field(x, t)`` with x ``(n, d)`` and t ``(n,)`` returns the velocity ``(n, d)``.
    x
        ``(n, d)`` starting points.
    n_steps
        Equal steps of time.
    solver
        ``"euler"`` (1 evaluation per step), ``"midpoint"``, ``"heun"`` (2) or ``"rk4"`` (4).
    steps
        Which steps to take; all by default.

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
    h = 1 / n_steps
    for step in range(n_steps) if steps is None else steps:
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
