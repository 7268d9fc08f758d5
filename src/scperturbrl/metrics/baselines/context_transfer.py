"""The effect of a perturbation in a new context: context line and context ridge together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl.metrics.baselines.context_ridge import context_ridge_effect

if TYPE_CHECKING:
    import numpy as np

    from scperturbrl.metrics.baselines.context_line import ContextLine


def transferred_effect(line: ContextLine, controls: np.ndarray, effects: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Effect ``(G,)`` in a new context, halfway between the context line and the context ridge.

    The two use the similarity of contexts in different ways. On most data sets their mean is closer than either, and
    there are too few contexts to choose one of them.

    Parameters
    ----------
    line
        Context line, fitted to measured effects.
    controls, effects
        ``(K, G)`` mean control profile of each context in which the perturbation was measured, and its effect there,
        preferably denoised.
    query
        ``(G,)`` mean control profile of the new context.
    """
    along = line.predict(controls, effects, control_query=query)
    if len(controls) < 2:
        return along
    return (along + context_ridge_effect(controls, effects, control_query=query)) / 2
