"""Relation of the effect of a pair of perturbations to the effects of its two parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ADDITIVE, BUFFERED, SYNERGISTIC = "additive", "buffered", "synergistic"
EPISTATIC, REDUNDANT, NEOMORPHIC, UNCLEAR = "epistatic", "redundant", "neomorphic", "unclear"
CLASSES = (ADDITIVE, BUFFERED, SYNERGISTIC, EPISTATIC, REDUNDANT, NEOMORPHIC, UNCLEAR)

LEVEL = 0.9
N_FOLDS = 20
# thresholds of the classes; see :func:`classify`
_LEAST_SIGNAL, _LARGEST_ERROR = 0.3, 0.3
_LEAST_FIT, _DOMINANT, _ALIKE = 0.75, 0.5, 0.7
_WEAK, _STRONG = 0.75, 1.25


class Moments(NamedTuple):
    """Sums of cells and of their squares ``(G,)``, and their number."""

    total: np.ndarray
    squares: np.ndarray
    n: int

    @classmethod
    def of(cls, cells: np.ndarray) -> Moments:
        """Those of cells ``(n, G)``."""
        return cls(cells.sum(0, dtype=np.float64), np.square(cells, dtype=np.float64).sum(0), len(cells))

    def without(self, other: Moments) -> Moments:
        """Those of the cells that are not among the `other` ones."""
        return Moments(self.total - other.total, self.squares - other.squares, self.n - other.n)

    @property
    def mean(self) -> np.ndarray:
        """Mean cell ``(G,)``."""
        return self.total / self.n

    @property
    def error(self) -> float:
        """Squared standard error of the mean, summed over genes."""
        return float((self.squares / self.n - np.square(self.mean)).sum()) / (self.n - 1)


class PairFit(NamedTuple):
    r"""Fit of the effect of a pair to the effects of its parts, corrected for sampling noise.

    Attributes
    ----------
    first, second
        Coefficients.
    fit
        Share of the squared effect of the pair that the parts explain, in [0, 1].
    similarity
        Cosine of the effects of the two parts, in [-1, 1].
    signal
        Share of the squared effect that is not noise: the smallest of the three.
    """

    first: float
    second: float
    fit: float
    similarity: float
    signal: float

    @property
    def magnitude(self) -> float:
        """Length of the vector of the two coefficients: the square root of 2 if the effects are additive."""
        return float(np.hypot(self.first, self.second))

    @property
    def dominance(self) -> float:
        """Absolute log10 of the ratio of the coefficients."""
        with np.errstate(divide="ignore"):
            return float(abs(np.log10(abs(self.first)) - np.log10(abs(self.second))))


class Interaction(NamedTuple):
    """A fit with the standard errors of its coefficients and the kind of interaction."""

    fit: PairFit
    first_error: float
    second_error: float
    kind: str

    def interval(self, coefficient: float, error: float) -> tuple[float, float]:
        """90 % interval of a coefficient."""
        half = float(stats.t.ppf((1 + LEVEL) / 2, N_FOLDS - 1)) * error
        return coefficient - half, coefficient + half


def fit_pair(populations: Sequence[Moments], *, shared: bool = True) -> PairFit:
    r"""Fit the effect of a pair to those of its parts by least squares without an intercept.

    Noise in the parts biases the coefficients of ordinary least squares towards 0, and the noise of the control cells,
    which all three effects share, biases them away from 0. Both are estimated from the variance of cells and subtracted
    from the moments (Fuller 1987, *Measurement Error Models*): with effects :math:`A` of the parts, :math:`y` of the
    pair, and variances :math:`v` of means summed over genes,

    .. math:: c = (A^T A - \mathrm{diag}(v_a, v_b) - v_0 J)^{-1} (A^T y - v_0 1).

    Parameters
    ----------
    populations
        Cells of the first part, the second, the pair, and controls.
    shared
        Whether the noise of the control cells is in the effects. It is not if the cells were generated from them.

    Returns
    -------
    The fit; all NaN if the noise is as large as the effects.
    """
    first, second, pair, control = populations
    effects = np.stack([one.mean - control.mean for one in (first, second, pair)])
    moments = effects @ effects.T
    raw = np.diag(moments).copy()
    moments -= np.diag([first.error, second.error, pair.error])
    moments -= control.error if shared else 0.0
    signal = float((np.diag(moments) / np.maximum(raw, 1e-300)).min())
    parts, together, square = moments[:2, :2], moments[:2, 2], moments[2, 2]
    if signal <= 0 or np.linalg.eigvalsh(parts)[0] <= 1e-9 * raw.max():
        return PairFit(np.nan, np.nan, np.nan, np.nan, max(signal, 0.0))
    found = np.linalg.solve(parts, together)
    explained = float(found @ together / square)
    similarity = float(parts[0, 1] / np.sqrt(parts[0, 0] * parts[1, 1]))
    return PairFit(float(found[0]), float(found[1]), min(max(explained, 0.0), 1.0), similarity, signal)


def fit_interaction(populations: Sequence[np.ndarray], *, shared: bool = True) -> Interaction:
    """Fit a pair and classify it, with standard errors by a jackknife over 20 groups of cells.

    Parameters
    ----------
    populations
        Log-normalised cells ``(n, G)`` of the first part, the second, the pair, and controls, at least 20 of each,
        without the genes that the pair targets.
    shared
        See :func:`fit_pair`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 200))
    >>> cells = [rng.normal(size=(100, 200)) + mean for mean in (a, b, 0.4 * (a + b), 0)]
    >>> found = fit_interaction(cells)
    >>> round(found.fit.first, 1), round(found.fit.second, 1), found.kind
    (0.4, 0.4, 'buffered')
    """
    whole = [Moments.of(cells) for cells in populations]
    found = fit_pair(whole, shared=shared)
    errors = _jackknife(populations, whole, lambda own: fit_pair(own, shared=shared)[:2])
    return Interaction(found, *errors, classify(found, max(errors)))


def _jackknife(
    populations: Sequence[np.ndarray], whole: Sequence[Moments], statistic: Callable[[list[Moments]], tuple[float, ...]]
) -> tuple[float, float]:
    folds = [[Moments.of(cells[fold::N_FOLDS]) for cells in populations] for fold in range(N_FOLDS)]
    values = np.array([statistic([w.without(f) for w, f in zip(whole, fold, strict=True)]) for fold in folds])
    first, second = np.sqrt((N_FOLDS - 1) * values.var(0))
    return float(first), float(second)


def classify(fit: PairFit, error: float) -> str:
    r"""Kind of a genetic interaction; the first rule that applies decides.

    =============  ==================================================================================================
    unclear        noise is more than 70 % of one of the squared effects, or the standard error of a coefficient is above
                   0.3 (of a pair whose parts are not alike)
    neomorphic     the parts explain less than 75 % of the squared effect of the pair
    redundant      the parts are alike (similarity of at least 0.7) and the pair does at most 75 % of their sum
    epistatic      one part dominates: a coefficient is more than 3.2 times the other (dominance above 0.5), and the parts
                   are not alike
    buffered       magnitude below 75 % of that of a sum, :math:`\sqrt{2}`
    synergistic    magnitude above 125 % of it
    additive       all else
    =============  ==================================================================================================

    For similar parts the data determine only the sum of the coefficients; half of it is used for each.

    Names follow Norman et al. 2019, who assigned them by eye and by clustering of the coefficients, the fit and the
    similarity of effects. The thresholds are ours.

    Parameters
    ----------
    fit
        Fit of the pair.
    error
        Larger standard error of its coefficients.
    """
    alike = fit.similarity >= _ALIKE
    magnitude = (abs(fit.first + fit.second) / np.sqrt(2) if alike else fit.magnitude) / np.sqrt(2)
    rules = {
        UNCLEAR: not fit.signal >= _LEAST_SIGNAL or not (alike or error <= _LARGEST_ERROR),
        NEOMORPHIC: fit.fit < _LEAST_FIT,
        REDUNDANT: alike and magnitude <= _WEAK,
        EPISTATIC: not alike and fit.dominance > _DOMINANT,
        BUFFERED: magnitude < _WEAK,
        SYNERGISTIC: magnitude > _STRONG,
    }
    return next((kind for kind, holds in rules.items() if holds), ADDITIVE)
