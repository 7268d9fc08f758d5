"""Effects of known perturbations in a context that has only control cells: context line and context ridge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scperturbrl.metrics.baselines.context_line import SCALES, ContextLine
from scperturbrl.metrics.baselines.context_transfer import fit_transfer_line, transferred_effect
from scperturbrl.metrics.baselines.left_out_contexts import LeftOut, error_by_context, left_out_contexts

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.data.reference.moments import MeasuredEffects

# the widest kernel of all counts every context the same; stored as 0, because weights are finite
_FLAT = 0.0
# The error in contexts left out is that of one context less and of measured instead of denoised effects, so it is too large by a factor
# of 2 to 3 with five contexts. The prior value is what was found in new contexts, and it counts as eight contexts. If none can be left
# out, because there are only one or two, it is twice as large.
_PRIOR_ERROR, _PRIOR_CONTEXTS, _LEAST_ERROR = 0.1, 8, 0.01


def fit_contexts(
    stored: StoredGenerator, measured: MeasuredEffects, denoised: np.ndarray, table: pd.DataFrame, amount: np.ndarray
) -> None:
    """Store control profiles and effects of the contexts in the linear part, and choose kernel and scale of the context line.

    Only conditions of a single perturbation count. Kernel and scale are chosen on measured effects, because denoised effects contain
    information about contexts that are left out. The effects that are stored are the denoised ones.

    Parameters
    ----------
    stored
        Generator, whose linear part is changed.
    measured, table
        Measured effects of conditions in the contexts of the vocabulary, and their rows of the condition table.
    denoised
        ``(C, G)`` the same effects without their noise.
    amount
        ``(C,)`` amount of each, 1 at the full dose. Effects are kept at amount 1, by least squares over the doses.
    """
    linear, vocabulary = stored.generator.linear, stored.vocabulary
    if not len(linear.context_control):
        return
    context = np.array([vocabulary.contexts.index(group) for group in table["group"]])
    linear.context_control[context] = torch.as_tensor(measured.control_mean, dtype=torch.float32)
    position = {token: i + 1 for i, token in enumerate(vocabulary.tokens)}
    single = np.flatnonzero(table["parts"].str.len() == 1)
    place = context[single], np.array([position[table["parts"].iloc[row][0]] for row in single], dtype=int)
    shape = tuple(linear.context_effect.shape)
    raw, kept = (_at_full_amount(x[single], amount[single], place, shape) for x in (measured.effect, denoised))
    some = np.isfinite(raw).all(2).any(0)
    line = fit_transfer_line(linear.context_control.numpy(), raw[:, some])
    # an effect that was not measured is stored as infinitely large: weights must be numbers
    linear.context_effect.copy_(torch.as_tensor(np.nan_to_num(kept, nan=_NOT_MEASURED)))
    width = line.width if np.isfinite(line.width) else _FLAT
    left_out = _left_out(line, linear.context_control.numpy().astype(float), raw[:, some])
    linear.context_line.copy_(torch.tensor([width, SCALES.index(line.scale), line.share, _beside_mean_shift(left_out)]))
    variance = _at_full_amount(measured.noise[single], amount[single], place, shape, squared=True)[:, some]
    found = np.log(_relative_errors(left_out, variance, stored.generator.space.loadings().numpy()))
    prior = _PRIOR_ERROR if len(found) else 2 * _PRIOR_ERROR
    linear.context_error.fill_(float(np.exp(np.mean([*found, *[np.log(prior)] * _PRIOR_CONTEXTS]))))
    linear.context_explained.fill_(float(np.clip(1 - np.exp(found.mean()), 0, 1)) if len(found) else 1 - prior)


def _at_full_amount(
    effects: np.ndarray,
    amount: np.ndarray,
    place: tuple[np.ndarray, np.ndarray],
    shape: tuple[int, ...],
    *,
    squared: bool = False,
) -> np.ndarray:
    """Effects ``(K, 1 + P, G)`` at amount 1, NaN where nothing was measured; if `squared`, sampling variances of them."""
    total, square = np.zeros(shape), np.zeros(shape[:2])
    np.add.at(total, place, (amount**2 if squared else amount)[:, None] * effects)
    np.add.at(square, place, amount**2)
    with np.errstate(invalid="ignore"):
        scale = np.square(square) if squared else square
        return np.asarray(np.where(square[..., None] > 0, total / scale[..., None], np.nan), dtype=np.float32)


class _LeftOutEffects(NamedTuple):
    """Contexts left out in turn, and the effects ``(n, G)`` there: measured, predicted, and by the mean shift."""

    folds: list[LeftOut]
    measured: list[np.ndarray]
    predicted: list[np.ndarray]
    shift: list[np.ndarray]

    @property
    def few(self) -> bool:
        """Whether fewer than two contexts could be left out."""
        return len({fold.context for fold in self.folds}) < 2


def _left_out(line: ContextLine, controls: np.ndarray, effects: np.ndarray) -> _LeftOutEffects:
    folds = list(left_out_contexts(effects))
    return _LeftOutEffects(
        folds,
        [effects[context, p] for context, p, _ in folds],
        [transferred_effect(line, controls[o], effects[o, p], controls[context]) for context, p, o in folds],
        [effects[o, p].mean(0) for _, p, o in folds],
    )


def _beside_mean_shift(left_out: _LeftOutEffects) -> float:
    """Squared error in contexts left out, as a multiple of that of the mean shift; 1 if too few could be left out."""
    folds, true, found, shift = left_out
    if left_out.few:
        return 1.0
    return float(
        (error_by_context(folds, found, true) / np.maximum(error_by_context(folds, shift, true), 1e-12)).mean()
    )


def _relative_errors(left_out: _LeftOutEffects, variance: np.ndarray, loadings: np.ndarray) -> np.ndarray:
    """Squared latent error of predicted effects in each context left out, as a share of their squared size.

    The sampling `variance` ``(K, P, G)`` of the measured effects is subtracted. `loadings` ``(G, d)`` project effects.
    """
    folds, true, found, _ = left_out
    if not folds:
        return np.zeros(0)
    latent = [one @ loadings for one in found]
    nothing = [np.zeros_like(one) for one in latent]
    error, size = (error_by_context(folds, latent, of) for of in ([one @ loadings for one in true], nothing))
    noise = [np.sqrt(variance[context, p] @ np.square(loadings)) for context, p, _ in folds]
    error = error - error_by_context(folds, noise, nothing)
    return np.maximum(error / np.maximum(size, 1e-12), _LEAST_ERROR)


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
    """Effects ``(C, G)`` in new contexts at amount 1, summed over the parts, and where they are known ``(C,)``.

    `controls` ``(C, G)`` are the mean control profiles of the conditions. Effects in a validation context are not used for that context
    itself, so that it stays a test of the others.
    """
    linear, line = stored.generator.linear, context_line(stored)
    position = {token: i + 1 for i, token in enumerate(stored.vocabulary.tokens)}
    own, effects = linear.context_control.numpy(), linear.context_effect.numpy()
    contexts = np.array(stored.vocabulary.contexts)
    found, known = np.zeros((len(table), controls.shape[1]), dtype=np.float32), np.zeros(len(table), dtype=bool)
    for row in np.flatnonzero(is_new_context(stored, table)):
        parts, others = table["parts"].iloc[row], contexts != table["group"].iloc[row]
        measured = [others & (effects[:, position[part], 0] > _NOT_MEASURED / 2) for part in parts if part in position]
        if len(measured) < len(parts) or not parts or not all(some.any() for some in measured):
            continue
        known[row] = True
        for part, some in zip(parts, measured, strict=True):
            effect = effects[some, position[part]]
            found[row] += transferred_effect(line, own[some], effect, controls[row].numpy())
    return torch.as_tensor(found), torch.as_tensor(known)
