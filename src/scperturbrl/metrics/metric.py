"""Definition of a metric: direction, best value, source, and the function that computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from scperturbrl.metrics.pair import ConditionPair

OWN_ENGINE = "scperturbrl"


@dataclass(frozen=True)
class Metric:
    """A metric: its name, direction and function.

    Attributes
    ----------
    name
        Identifier, the key in the result of :func:`scperturbrl.metrics.compute_metrics`.
    label
        Sentence-case name for plots.
    best_value
        Value of a perfect prediction.
    higher_is_better
        None if the best value is within the range, so that both directions are worse.
    description
        One sentence: what is compared.
    source
        Source of the definition.
    joint
        Whether all conditions are needed at once, so that a single pair has no value.
    engine
        Package whose algorithm computes it, recorded with its version for every value.
    compute
        Function of a :class:`scperturbrl.metrics.ConditionPair` that computes it; None for those that
        :func:`scperturbrl.metrics.compute_metrics` computes together.

    Examples
    --------
    >>> from scperturbrl.metrics import METRICS
    >>> METRICS["variance_ratio"].error(0.25)
    0.75
    """

    name: str
    label: str
    best_value: float
    higher_is_better: bool | None
    description: str
    source: str
    joint: bool = False
    engine: str = OWN_ENGINE
    compute: Callable[[ConditionPair], float] | None = None

    def error(self, value: float) -> float:
        """Return the difference of `value` from the best value; lower is better for every metric."""
        if self.higher_is_better is None:
            return abs(value - self.best_value)
        return self.best_value - value if self.higher_is_better else value - self.best_value
