"""Leaving out one context at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class LeftOut(NamedTuple):
    """A context that is left out, a perturbation, and the other contexts ``(k,)`` in which it was measured."""

    context: int
    perturbation: int
    others: np.ndarray


def left_out_contexts(effects: np.ndarray) -> Iterator[LeftOut]:
    """Every measured effect of ``(K, P, G)`` whose perturbation was measured in at least two other contexts; NaN is not measured."""
    measured = np.isfinite(effects).all(2)
    for context, p in zip(*np.nonzero(measured), strict=True):
        others = np.flatnonzero(measured[:, p])
        others = others[others != context]
        if len(others) > 1:
            yield LeftOut(int(context), int(p), others)


def error_by_context(
    folds: Sequence[LeftOut], predicted: Sequence[np.ndarray], true: Sequence[np.ndarray]
) -> np.ndarray:
    """Squared error summed over the perturbations of each context that was left out, in order of the contexts."""
    total = dict.fromkeys(sorted({fold.context for fold in folds}), 0.0)
    for fold, one, other in zip(folds, predicted, true, strict=True):
        total[fold.context] += float(np.square(one - other).sum())
    return np.array(list(total.values()))
