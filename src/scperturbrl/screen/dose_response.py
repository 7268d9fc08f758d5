"""Hill curves fitted to the mean response at each dose."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.linalg import solve_triangular

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

LEVEL = 0.9
MIN_DOSES = 3
# slopes of real curves are mostly between 0.5 and 4; this prior regularises fits to three doses
_SLOPE, _SLOPE_SD = 1.5, 0.5
# the EC50 is searched up to ten times beyond the doses; beyond that, curves are indistinguishable
_BEYOND = 10.0


class Response(NamedTuple):
    """Mean response at each dose.

    Attributes
    ----------
    value
        ``(D,)`` response, relative to control cells.
    error
        ``(D,)`` its standard error.
    shared
        Squared standard error of the control cells, which all responses share.
    p_value
        p-value of a chi-squared test for a response at any dose.
    """

    value: np.ndarray
    error: np.ndarray
    shared: float
    p_value: float

    @classmethod
    def of(cls, values: Sequence[np.ndarray], control: np.ndarray) -> Response:
        """That of a number of each cell: ``(n,)`` cells at each dose, and control cells."""
        square = np.array([np.var(own, ddof=1) / len(own) for own in values])
        shared = float(np.var(control, ddof=1) / len(control))
        value = np.array([own.mean() - control.mean() for own in values])
        root = _root(np.sqrt(square + shared), shared)
        p_value = float(stats.chi2.sf(np.square(solve_triangular(root, value, lower=True)).sum(), len(value)))
        return cls(value, np.sqrt(square + shared), shared, p_value)


def _root(error: np.ndarray, shared: float) -> np.ndarray:
    """Lower triangular root of the covariance of responses ``(D, D)``."""
    square = np.maximum(np.square(error), 1e-24)
    return np.linalg.cholesky(np.diag(np.maximum(square - shared, 1e-6 * square)) + shared)


class HillFit(NamedTuple):
    """A Hill curve.

    Attributes
    ----------
    top
        Response at a very high dose, relative to that of control cells.
    ec50
        Dose at half of it.
    slope
        Hill coefficient.
    errors
        ``(3,)`` standard errors of the top, of log EC50 and of log slope.
    r2
        Share of the variance of the responses, 0 at dose 0 among them, that the curve explains.
    """

    top: float
    ec50: float
    slope: float
    errors: np.ndarray
    r2: float

    def intervals(self) -> np.ndarray:
        """90 % intervals ``(3, 2)`` of top, EC50 and slope, from the curvature of the fit."""
        half = stats.norm.ppf((1 + LEVEL) / 2) * self.errors[:, None] * np.array([-1.0, 1.0])
        with np.errstate(over="ignore"):
            return np.vstack([self.top + half[0], self.ec50 * np.exp(half[1]), self.slope * np.exp(half[2])])


def hill(dose: ArrayLike, *, top: float, ec50: float, slope: float) -> np.ndarray:
    r"""Response :math:`T d^h / (E^h + d^h)` at doses, 0 at dose 0.

    Examples
    --------
    >>> hill([0.0, 1.0, 3.0], top=2.0, ec50=1.0, slope=1.0).tolist()
    [0.0, 1.0, 1.5]
    """
    relative = np.asarray(dose, dtype=np.float64) / ec50
    with np.errstate(divide="ignore"):
        return np.asarray(top / (1.0 + relative**-slope))


def fit_hill(dose: ArrayLike, response: ArrayLike, error: ArrayLike, *, shared: float = 0.0) -> HillFit:
    r"""Fit a Hill curve by generalised least squares (:func:`scipy.optimize.least_squares`).

    The curve starts at 0, the response of control cells. The slope has a log-normal prior around 1.5 (90 % from 0.7 to
    3.4), because three doses cannot determine both slope and EC50; with five or more doses it has little influence. The
    EC50 is searched from a tenth of the lowest to ten times the highest dose.

    Parameters
    ----------
    dose
        ``(D,)`` doses above 0, at least three different ones.
    response, error
        ``(D,)`` mean response relative to control cells, and its standard error.
    shared
        Squared standard error of the control cells, a part of that of every response.

    Returns
    -------
    The curve with standard errors.

    Raises
    ------
    ValueError
        If there are fewer than three doses, or a dose, response or error is not finite or not above 0.

    Examples
    --------
    >>> found = fit_hill([0.1, 1.0, 10.0, 100.0], [0.2, 1.0, 1.8, 2.0], [0.05] * 4)
    >>> round(found.ec50, 1), round(found.top, 1)
    (1.0, 2.0)
    """
    dose, response, error = (np.asarray(values, dtype=np.float64) for values in (dose, response, error))
    _check(dose, response, error)
    root, size = _root(error, shared), float(np.abs(response).max()) or 1.0

    def residuals(parameters: np.ndarray) -> np.ndarray:
        top, log_ec50, log_slope = parameters
        curve = hill(dose, top=size * top, ec50=np.exp(log_ec50), slope=np.exp(log_slope))
        own = solve_triangular(root, curve - response, lower=True)
        return np.append(own, (log_slope - np.log(_SLOPE)) / _SLOPE_SD)

    best = _least_squares(residuals, np.log(dose), sign=float(np.sign(response.sum())) or 1.0)
    top, ec50, slope = size * best.x[0], np.exp(best.x[1]), np.exp(best.x[2])
    covariance = np.linalg.pinv(best.jac.T @ best.jac, hermitian=True)
    errors = np.array([size, 1.0, 1.0]) * np.sqrt(np.diag(covariance))
    left = np.square(hill(dose, top=top, ec50=ec50, slope=slope) - response).sum()
    spread = np.square(np.append(response, 0.0) - np.append(response, 0.0).mean()).sum()
    return HillFit(float(top), float(ec50), float(slope), errors, float(1 - left / max(spread, 1e-300)))


def _least_squares(
    residuals: Callable[[np.ndarray], np.ndarray], log_dose: np.ndarray, *, sign: float
) -> optimize.OptimizeResult:
    """The best of three fits with different initial values of EC50."""
    beyond = np.log(_BEYOND)
    bounds = [-np.inf, log_dose.min() - beyond, np.log(0.2)], [np.inf, log_dose.max() + beyond, np.log(10.0)]
    starts = [[sign, middle, np.log(_SLOPE)] for middle in np.quantile(log_dose, [0.2, 0.5, 0.8])]
    tried = [optimize.least_squares(residuals, start, bounds=bounds, x_scale="jac") for start in starts]
    return min(tried, key=lambda one: float(one.cost))


def _check(dose: np.ndarray, response: np.ndarray, error: np.ndarray) -> None:
    if len(np.unique(dose)) < MIN_DOSES:
        msg = f"There are {len(np.unique(dose))} different doses; a curve needs at least {MIN_DOSES}."
        raise ValueError(msg)
    if not (np.isfinite(dose) & (dose > 0)).all():
        msg = "Doses must be above 0 and finite; the response at dose 0 is that of control cells."
        raise ValueError(msg)
    if not np.isfinite(response).all() or not (np.isfinite(error) & (error > 0)).all():
        msg = "Responses must be finite, and their standard errors finite and above 0."
        raise ValueError(msg)


def own_response(cells: Sequence[np.ndarray], control: np.ndarray) -> Response:
    r"""Length of the effect at each dose along the direction of the effect of the drug.

    The direction is the sum of the effects at all doses, from one half of the cells; the other half is measured along
    it, and vice versa. If the same cells defined the direction, noise alone would look like a response.

    Parameters
    ----------
    cells
        ``(n, G)`` log-normalised cells at each of D doses, at least four.
    control
        ``(m, G)`` control cells.

    Returns
    -------
    Lengths in log-normalised units. The two halves are not independent where there is no response, so its p-value is
    twice the smaller of theirs.
    """
    first, second = own_directions(cells, control)
    halves = [
        Response.of([block[start::2] @ direction for block in cells], control[start::2] @ direction)
        for start, direction in ((0, second), (1, first))
    ]
    square = np.square([half.error for half in halves]).sum(0) / 4
    p_value = min(1.0, 2 * min(half.p_value for half in halves))
    shared = sum(half.shared for half in halves) / 4
    return Response(np.mean([half.value for half in halves], axis=0), np.sqrt(square), shared, p_value)


def own_directions(cells: Sequence[np.ndarray], control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors ``(G,)`` along the sum of the effects at all doses, of the even and of the odd cells."""
    found = []
    for start in (0, 1):
        base = control[start::2].mean(0, dtype=np.float64)
        total = np.sum([block[start::2].mean(0, dtype=np.float64) - base for block in cells], axis=0)
        found.append(np.asarray(total / max(float(np.linalg.norm(total)), 1e-12)))
    return found[0], found[1]
