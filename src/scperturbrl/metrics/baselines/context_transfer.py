"""The effect of a perturbation in a new context: context line and context ridge together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.baselines.context_line import ContextLine, fit_context_line
from scperturbrl.metrics.baselines.context_ridge import context_ridge_effect
from scperturbrl.metrics.baselines.left_out_contexts import left_out_contexts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def fit_transfer_line(controls: ArrayLike, effects: ArrayLike) -> ContextLine:
    """Context line of measured effects; with too few contexts to choose anything, it averages log ratios of rates.

    Log ratios transfer better than differences: a gene that the new context does not express cannot fall there, and few
    of its counts can rise. Arguments are those of :func:`~scperturbrl.metrics.fit_context_line`.
    """
    line = fit_context_line(controls, effects)
    n_left_out = len({fold.context for fold in left_out_contexts(np.asarray(effects))})
    return line if n_left_out > 1 else ContextLine(np.inf, "log_ratio", 1.0, line.error)


def transferred_effect(line: ContextLine, controls: np.ndarray, effects: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Effect ``(G,)`` in a new context, halfway between the context line and the context ridge.

    The two use the similarity of contexts in different ways. On most data sets their mean is closer than either, and
    there are too few contexts to choose one of them. From a single context, log ratios of rates are taken over.

    Parameters
    ----------
    line
        Line of :func:`fit_transfer_line`.
    controls, effects
        ``(K, G)`` mean control profile of each context in which the perturbation was measured, and its effect there,
        preferably denoised.
    query
        ``(G,)`` mean control profile of the new context.
    """
    ridge = context_ridge_effect(controls, effects, control_query=query)
    if len(controls) < 2:
        return ridge
    return (line.predict(controls, effects, control_query=query) + ridge) / 2
