"""Errors of predictions for left-out conditions, and intervals derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.screen.kinds import CONTEXT, KINDS, MEASURED, PERTURBATION, SEVERAL, UNSEEN_PART

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from scperturbrl.screen.conditions import Measured
    from scperturbrl.screen.left_out import LeftOut

SUPPORTED, EXTRAPOLATING, UNSUPPORTED = "supported", "extrapolating", "unsupported"
# Share of squared effects, corrected for sampling noise, that predictions must explain: half of them to be supported.
LOWEST_R2 = {SUPPORTED: 0.5, EXTRAPOLATING: 0.1}
MIN_CONDITIONS, MIN_CONTEXTS = 8, 3
"""With fewer left-out conditions, or contexts, there are no intervals."""


@dataclass(frozen=True)
class Errors:
    """Errors of m predicted effects of conditions of one kind.

    Attributes
    ----------
    kind
        What was left out.
    n_units
        Number of independent predictions.
    rmse
        ``(m,)`` root mean square over genes of predicted minus measured effect, log-normalised.
    r2
        Share of the squared effects that the predictions explain, corrected for sampling noise; NaN without predictions.
    """

    kind: str
    n_units: int
    rmse: np.ndarray
    r2: float

    @property
    def enough(self) -> bool:
        """Whether there are enough for calibration."""
        return len(self.rmse) >= MIN_CONDITIONS and (self.kind != CONTEXT or self.n_units >= MIN_CONTEXTS)


def effect_errors(measured: Measured, left: LeftOut, kind: str) -> Errors:
    """Compare predictions of left-out conditions with their measured effects."""
    real, noise = measured.effects[left.index], measured.noise[left.index]
    square = np.square(real - left.effects).mean(1)
    size = np.square(real).mean(1) - noise
    r2 = float("nan") if size.sum() <= 0 else 1 - float((square - noise).sum() / size.sum())
    return Errors(kind, left.n_units, np.sqrt(square), min(r2, 1.0))


def interval_width(residuals: ArrayLike, level: float) -> float:
    """Half the width of an interval that contains `level` of new conditions; NaN for too few residuals.

    The ``level * (m + 1)``-th smallest of m absolute residuals, interpolated: split conformal prediction, whose
    coverage is `level` if new conditions are like those left out [1]_.

    References
    ----------
    .. [1] Vovk V (2015). Cross-conformal predictors. Annals of Mathematics and Artificial Intelligence 74, 9-28.

    Examples
    --------
    >>> interval_width([0.1, -0.2, 0.3, -0.4], 0.8)
    0.4
    """
    values = np.abs(np.asarray(residuals, dtype=float))
    if not len(values) or level * (len(values) + 1) > len(values):
        return float("nan")
    return float(np.quantile(values, level, method="weibull"))


def expected_error(errors: Errors, level: float) -> tuple[float, float, float]:
    """Median error, and the interval that contains `level` of the errors; NaN if too few were left out."""
    if not errors.enough:
        return float("nan"), float("nan"), float("nan")
    tail = (1 - level) / 2
    low, middle, high = np.quantile(errors.rmse, [tail, 0.5, 1 - tail], method="weibull")
    return float(middle), float(low), float(high)


def support(kind: str, errors: Errors | None) -> str:
    """One word for a prediction of `kind`: supported, extrapolating or unsupported.

    It depends on the explained share of left-out conditions. If too few could be left out, an unmeasured perturbation is
    unsupported and any other condition extrapolating.
    """
    if kind == MEASURED:
        return SUPPORTED
    if errors is None or not errors.enough or not np.isfinite(errors.r2):
        return UNSUPPORTED if kind in (PERTURBATION, UNSEEN_PART, SEVERAL) else EXTRAPOLATING
    return next((word for word, least in LOWEST_R2.items() if errors.r2 >= least), UNSUPPORTED)


def too_few(errors: Errors) -> str:
    """Message that explains why there is no interval."""
    what = f"{len(errors.rmse)} conditions" + (f" of {errors.n_units} contexts" if errors.kind == CONTEXT else "")
    needed = f"{MIN_CONDITIONS}" + (f" of {MIN_CONTEXTS} contexts" if errors.kind == CONTEXT else "")
    return (
        f"No interval for candidates of the kind {errors.kind!r} ({KINDS[errors.kind]}): {what} could be left out of "
        f"training for calibration, and {needed} are needed."
    )
