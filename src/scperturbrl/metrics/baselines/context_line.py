"""The effect of a perturbation in a new context, from contexts with similar control cells."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl.metrics.baselines.left_out_contexts import error_by_context, left_out_contexts
from scperturbrl.metrics.baselines.log_ratios import effect_of, log_ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

WIDTHS = (np.inf, 2.0, 1.0, 0.7, 0.5)
SCALES = ("difference", "log_ratio")
# the weight is shrunk as if this many further contexts supported the plain mean
_EVIDENCE = 1.0


class ContextLine(NamedTuple):
    """How effects are transferred from one context to another; fitted by :func:`fit_context_line`.

    Attributes
    ----------
    width
        Width of the Gaussian kernel on the distance between control profiles, in units of the distance to the nearest
        context; if infinite, all contexts have the same weight.
    scale
        ``"difference"``: differences of log-normalised means are averaged. ``"log_ratio"``: log ratios of rates are.
    share
        Weight in [0, 1] of the weighted prediction; the rest is the mean shift (plain mean of the differences).
    error
        Squared error of contexts left out, as a multiple of that of the mean shift; NaN with fewer than three contexts.
    """

    width: float
    scale: str
    share: float
    error: float

    def predict(self, controls: ArrayLike, effects: ArrayLike, *, control_query: ArrayLike) -> np.ndarray:
        """Effect ``(G,)`` of one perturbation in the context with control profile `control_query` ``(G,)``.

        Parameters
        ----------
        controls, effects
            ``(K, G)`` mean control profile of each context in which the perturbation was measured, and its effect there.
        control_query
            ``(G,)`` mean control profile of the new context.
        """
        own, effect, query = (np.asarray(x, dtype=np.float64) for x in (controls, effects, control_query))
        plain = effect.mean(0)
        if len(own) < 2 or self.share == 0:
            return plain
        return plain + self.share * (_weighted(own, effect, query, self.width, self.scale) - plain)


def fit_context_line(controls: ArrayLike, effects: ArrayLike) -> ContextLine:
    r"""Choose how effects are transferred to a new context, by leaving out one context at a time.

    The effect in a new context is the mean of those in the others, weighted by :math:`\exp(-(d / d_\text{nearest})^2 /
    2 h^2)` of the distance :math:`d` between mean control profiles. Differences of means or log ratios of rates are
    averaged; the latter are applied to the rates of the new context.

    The plain mean of differences is used unless another choice is better by more than one standard error over contexts.
    The prediction is then shrunk towards the plain mean.

    Parameters
    ----------
    controls
        ``(K, G)`` mean control profile of each context, log-normalised.
    effects
        ``(K, P, G)`` effect of each perturbation in each context; NaN where it was not measured.

    Returns
    -------
    The fitted line; with fewer than three contexts the mean shift.

    Raises
    ------
    ValueError
        Shapes do not fit, or a control profile is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import fit_context_line
    >>> rng = np.random.default_rng(0)
    >>> kind = np.repeat([0, 1], 3)[:, None]
    >>> controls = rng.normal(scale=0.05, size=(6, 30)) + kind * rng.normal(size=30) + 2
    >>> effects = kind * np.ones(30) + rng.normal(scale=0.05, size=(6, 30))
    >>> line = fit_context_line(controls, effects[:, None])
    >>> bool(line.width < np.inf), bool(line.error < 0.2)
    (True, True)
    """
    own, table = np.asarray(controls, dtype=np.float64), np.asarray(effects, dtype=np.float64)
    if own.ndim != 2 or table.ndim != 3 or own.shape != (table.shape[0], table.shape[2]) or not np.isfinite(own).all():
        msg = (
            f"Control profiles {own.shape} and effects {table.shape} do not fit; expected finite (K, G), and (K, P, G)."
        )
        raise ValueError(msg)
    folds = list(left_out_contexts(table))
    nothing = ContextLine(np.inf, "difference", 0.0, float("nan"))
    n_contexts = len({fold.context for fold in folds})
    if n_contexts < 2:
        return nothing
    plain = [table[others, p].mean(0) for _, p, others in folds]
    true = [table[context, p] for context, p, _ in folds]
    base = error_by_context(folds, plain, true)
    found: dict[tuple[float, str], tuple[list[np.ndarray], np.ndarray]] = {}
    for width, scale in product(WIDTHS, SCALES):
        made = [_weighted(own[o], table[o, p], own[context], width, scale) for context, p, o in folds]
        found[width, scale] = made, error_by_context(folds, made, true) / np.maximum(base, 1e-12)
    best = min(found, key=lambda choice: found[choice][1].mean())
    best = _simplest(found, best)
    made, relative = found[best]
    if relative.mean() + relative.std(ddof=1) / np.sqrt(len(relative)) >= 1:
        return nothing
    return ContextLine(*best, _share(plain, made, true, n_contexts), float(relative.mean()))


def _weighted(controls: np.ndarray, effects: np.ndarray, query: np.ndarray, width: float, scale: str) -> np.ndarray:
    square = np.square(controls - query).sum(1)
    square = square / max(float(square.min()), 1e-12)
    weight = np.exp(-(square - square.min()) / (2 * width**2)) if np.isfinite(width) else np.ones(len(square))
    weight = weight / weight.sum()
    if scale == "difference":
        return np.asarray(weight @ effects)
    return effect_of(weight @ log_ratios(controls, effects), query)


def _simplest(
    found: dict[tuple[float, str], tuple[list[np.ndarray], np.ndarray]], best: tuple[float, str]
) -> tuple[float, str]:
    """The widest kernel with an error within one standard error (over contexts) of the best."""
    lowest = found[best][1]
    for width, scale in found:
        gap = found[width, scale][1] - lowest
        if scale == best[1] and gap.mean() <= gap.std(ddof=1) / np.sqrt(len(gap)):
            return width, scale
    return best


def _share(
    plain: Sequence[np.ndarray], made: Sequence[np.ndarray], true: Sequence[np.ndarray], n_contexts: int
) -> float:
    """Least-squares weight over left-out contexts, shrunk towards the mean shift."""
    step = np.stack(made) - np.stack(plain)
    size = float(np.square(step).sum())
    along = float(((np.stack(true) - np.stack(plain)) * step).sum())
    return float(np.clip(along / max(size * (1 + _EVIDENCE / n_contexts), 1e-12), 0, 1))
