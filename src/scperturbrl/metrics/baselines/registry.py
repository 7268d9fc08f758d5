"""Registry of additional baselines, by name."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from scperturbrl._core.lazy import declared
from scperturbrl._core.register import add

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np


@dataclass(frozen=True)
class Wanted:
    """The condition whose effect a baseline predicts.

    Attributes
    ----------
    perturbation, parts
        Its label, and its single perturbations.
    context
        Name of its combination of covariates.
    dose
        Its dose; 0 without doses.
    """

    perturbation: str
    parts: tuple[str, ...]
    context: str
    dose: float


@dataclass(frozen=True)
class Known:
    """Training data, the only data that a baseline may use.

    Attributes
    ----------
    conditions
        The C training conditions.
    effects
        ``(C, G)`` their mean effects.
    controls
        Mean profile ``(G,)`` of the training control cells of each context.
    """

    conditions: tuple[Wanted, ...]
    effects: np.ndarray
    controls: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """A simple prediction with which models are compared.

    Attributes
    ----------
    name
        Name of the model in the table of :func:`scperturbrl.tl.evaluate`.
    predict
        Function of :class:`Known` and :class:`Wanted` that returns an effect ``(G,)``.
    """

    name: str
    predict: Callable[[Known, Wanted], np.ndarray]


_ADDED: dict[str, Baseline] = {}

ADDED: Mapping[str, Baseline] = MappingProxyType(_ADDED)
"""Baselines in addition to those of every evaluation, by name."""


def register(baseline: Baseline, *, overwrite: bool = False) -> Baseline:
    """Add a baseline to all later evaluations.

    Parameters
    ----------
    baseline
        The baseline.
    overwrite
        Replace an added baseline of the same name instead of raising an error.

    Returns
    -------
    `baseline`, unchanged.

    Raises
    ------
    ValueError
        If the name is taken.

    Examples
    --------
    >>> half = Baseline("half_mean", lambda known, wanted: known.effects.mean(0) / 2)
    >>> _ = register(half, overwrite=True)
    >>> "half_mean" in ADDED
    True
    """
    add(_ADDED, baseline.name, baseline, what="a baseline", overwrite=overwrite)
    return baseline


for _baseline in declared("scperturbrl.metrics.baselines", "BASELINE"):
    register(_baseline)
