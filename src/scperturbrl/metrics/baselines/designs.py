"""Checks of the tables to which the baselines are fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def checked_effects(effects: ArrayLike) -> np.ndarray:
    """Return training effects ``(C, G)`` as float64, or raise ``ValueError``."""
    array = np.asarray(effects, dtype=np.float64)
    if array.ndim != 2 or len(array) == 0 or not np.isfinite(array).all():
        msg = (
            f"Training effects of shape {array.shape} must be (C, G), C > 0, and finite: drop conditions without cells."
        )
        raise ValueError(msg)
    return array


def checked_designs(
    train: ArrayLike, effects: ArrayLike, query: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training design, training effects and query design as float64, or raise ``ValueError``."""
    checked = checked_effects(effects)
    first, second = np.asarray(train, dtype=np.float64), np.asarray(query, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(checked) or first.shape[1] != second.shape[1]:
        msg = (
            f"Training {first.shape}, effects {checked.shape} and query {second.shape} do not fit; "
            "expected (C, P), (C, G) and (Q, P)."
        )
        raise ValueError(msg)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        msg = "The design of the training or the query conditions holds NaN or infinity; encode absence as 0."
        raise ValueError(msg)
    return first, checked, second


def checked_positive(values: ArrayLike, *, name: str) -> np.ndarray:
    """Return a vector of positive numbers as float64, or raise ``ValueError`` that names it."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0 or not (np.isfinite(array).all() and (array > 0).all()):
        msg = f"`{name}` must be a non-empty list of finite positive numbers, got {values!r}."
        raise ValueError(msg)
    return array
