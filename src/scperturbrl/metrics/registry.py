"""Registry of metrics by name, to which others can be added."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from scperturbrl._core.lazy import declared
from scperturbrl.metrics.built_in import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scperturbrl.metrics.metric import Metric

_METRICS = {metric.name: metric for metric in BUILT_IN}

METRICS: Mapping[str, Metric] = MappingProxyType(_METRICS)
"""Every metric by name, in the order of a report."""


def register(metric: Metric, *, overwrite: bool = False) -> Metric:
    """Add a metric to :func:`scperturbrl.metrics.compute_metrics` and :func:`scperturbrl.tl.evaluate`.

    Parameters
    ----------
    metric
        The metric, with the function that computes it.
    overwrite
        Replace a registered metric of the same name instead of raising an error.

    Returns
    -------
    `metric`, unchanged.

    Raises
    ------
    ValueError
        If the name is taken, or the metric has no function.

    Examples
    --------
    >>> from scperturbrl.metrics import Metric
    >>> largest = Metric(
    ...     "largest_error",
    ...     "Largest error",
    ...     best_value=0.0,
    ...     higher_is_better=False,
    ...     description="Largest absolute difference of the mean profiles.",
    ...     source="example",
    ...     compute=lambda pair: float(abs(pair.predicted_effect - pair.observed_effect).max()),
    ... )
    >>> _ = register(largest, overwrite=True)
    >>> METRICS["largest_error"].error(0.5)
    0.5
    """
    if metric.compute is None or metric.joint:
        msg = f"The metric {metric.name!r} has no `compute`, a function of one ConditionPair."
        raise ValueError(msg)
    if metric.name in _METRICS and (not overwrite or _METRICS[metric.name].compute is None):
        msg = f"A metric named {metric.name!r} exists; choose another name."
        raise ValueError(msg)
    _METRICS[metric.name] = metric
    return metric


for _metric in declared("scperturbrl.metrics", "METRIC"):
    register(_metric)
