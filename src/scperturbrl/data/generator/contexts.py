"""The context line of a generator: effects of known perturbations in a context that has only control cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.metrics.baselines.context_line import SCALES, ContextLine, fit_context_line

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.data.reference.moments import MeasuredEffects

# the widest kernel of all counts every context the same; stored as 0, because weights are finite
_FLAT = 0.0


def fit_contexts(stored: StoredGenerator, measured: MeasuredEffects, table: pd.DataFrame, amount: np.ndarray) -> None:
    """Store control profiles and effects of the contexts in the linear part, and choose kernel and scale of the context line.

    Only conditions of a single perturbation count.

    Parameters
    ----------
    stored
        Generator, whose linear part is changed.
    measured, table
        Measured effects of the training conditions, and their rows of the condition table.
    amount
        ``(C,)`` amount of each, 1 at the full dose. Effects are kept at amount 1, by least squares over the doses.
    """
    linear, vocabulary = stored.generator.linear, stored.vocabulary
    if not len(linear.context_control):
        return
    position = {token: i + 1 for i, token in enumerate(vocabulary.tokens)}
    effects = np.full(tuple(linear.context_effect.shape), np.nan, dtype=np.float32)
    total, square = np.zeros(effects.shape), np.zeros(effects.shape[:2])
    for row, (group, parts) in enumerate(zip(table["group"], table["parts"], strict=True)):
        context = vocabulary.groups.index(group)
        linear.context_control[context] = torch.as_tensor(measured.control_mean[row])
        if len(parts) == 1:
            place = context, position[parts[0]]
            total[place] += amount[row] * measured.effect[row]
            square[place] += amount[row] ** 2
    known = square > 0
    effects[known] = total[known] / square[known][:, None]
    some = np.isfinite(effects).all(2).any(0)
    line = fit_context_line(linear.context_control.numpy(), effects[:, some])
    # an effect that was not measured is stored as infinitely large: weights must be numbers
    linear.context_effect.copy_(torch.as_tensor(np.nan_to_num(effects, nan=_NOT_MEASURED)))
    width = line.width if np.isfinite(line.width) else _FLAT
    linear.context_line.copy_(
        torch.tensor([width, SCALES.index(line.scale), line.share, np.nan_to_num(line.error, nan=1.0)])
    )


_NOT_MEASURED = -1e30


def context_line(stored: StoredGenerator) -> ContextLine:
    """How effects are transferred to a new context."""
    width, scale, share, error = stored.generator.linear.context_line.tolist()
    return ContextLine(width or float("inf"), SCALES[int(scale)], share, error)


def is_new_context(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Whether each condition of `table` is of a control group without perturbed training cells ``(C,)``, if other groups have some."""
    several = len(stored.generator.linear.context_control) > 0
    return several & ~table["group"].isin(stored.vocabulary.groups).to_numpy(dtype=bool)


def context_effects(stored: StoredGenerator, table: pd.DataFrame, controls: Tensor) -> tuple[Tensor, Tensor]:
    """Latent effects ``(C, d)`` of the context line at amount 1, summed over the parts, and where they are known ``(C,)``.

    `controls` ``(C, G)`` are the mean control profiles of the conditions.
    """
    linear, space, line = stored.generator.linear, stored.generator.space, context_line(stored)
    position = {token: i + 1 for i, token in enumerate(stored.vocabulary.tokens)}
    own, effects = linear.context_control.numpy(), linear.context_effect.numpy()
    found, known = np.zeros((len(table), controls.shape[1]), dtype=np.float32), np.zeros(len(table), dtype=bool)
    for row in np.flatnonzero(is_new_context(stored, table)):
        parts = table["parts"].iloc[row]
        measured = [effects[:, position[part], 0] > _NOT_MEASURED / 2 for part in parts if part in position]
        if len(measured) < len(parts) or not parts or not all(some.any() for some in measured):
            continue
        known[row] = True
        for part, some in zip(parts, measured, strict=True):
            effect = effects[some, position[part]]
            found[row] += line.predict(own[some], effect, control_query=controls[row].numpy())
    return space.project(torch.as_tensor(found)), torch.as_tensor(known)
