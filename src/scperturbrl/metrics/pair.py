"""A prediction, together with the real cells with which it is compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics._arrays import difference, mean_profile
from scperturbrl.metrics.differential import WelchTest, top_genes, welch_t
from scperturbrl.metrics.noise_corrected import NoisyMean, noisy_mean

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, eq=False)
class ConditionPair:
    """Predicted and observed cells of one condition, all over the same G genes, log-normalised expression.

    Values that do not depend on the prediction can be computed once and passed in; otherwise they are computed.

    Attributes
    ----------
    predicted
        ``(n, G)`` predicted cells. n may be 0 with `predicted_mean`: metrics of cells are then NaN.
    observed
        ``(m, G)`` real perturbed cells.
    control
        ``(c, G)`` real control cells of the same covariates.
    predicted_mean
        ``(G,)`` replaces the mean of `predicted`, for a baseline with an exact mean.
    observed_mean
        ``(G,)`` mean of all observed cells, if `observed` is a sample of them.
    control_mean
        ``(G,)`` mean of all control cells.
    counts
        Numbers of cells of the three means, if `predicted`, `observed` and `control` are samples of them.
    observed_statistic
        ``(G,)`` test statistic of observed against control cells. Welch's t by default.
    top_genes
        Indices of the observed differentially expressed genes. The largest absolute statistics by default.
    target_genes
        Indices of the genes that the condition targets. They are left out of the metrics of differential expression.
    systema_reference
        ``(G,)`` mean of the perturbed centroids of the training conditions; without it the `systema` metrics are NaN.
    modules
        ``(G, M)`` gene modules, see :func:`scperturbrl.metrics.gene_modules`; without them `module_correlation_error`
        is NaN.
    networks
        Weights ``(G, P)`` of genes in gene sets, by the name of the network. Enrichment metrics are NaN without a
        network named ``pathway``.
    parts
        ``(P, G)`` observed effects of the parts of a combination; without them metrics of interaction are NaN.
    projection
        ``(G, d)`` linear map, such as the loadings of a PCA, to the space of the distances between cells. Distances do
        not change if both populations are shifted, so no centring is needed. Gene space by default.

    Raises
    ------
    ValueError
        An argument is not a dense array, or its shape does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import ConditionPair
    >>> cells = np.random.default_rng(0).gamma(1.0, size=(3, 20, 6))
    >>> pair = ConditionPair(cells[0], cells[1], cells[2])
    >>> pair.observed_effect.shape
    (6,)
    """

    predicted: np.ndarray
    observed: np.ndarray
    control: np.ndarray
    predicted_mean: np.ndarray | None = None
    observed_mean: np.ndarray | None = None
    control_mean: np.ndarray | None = None
    counts: tuple[int, int, int] | None = None
    observed_statistic: np.ndarray | None = None
    top_genes: np.ndarray | None = None
    target_genes: np.ndarray | None = None
    systema_reference: np.ndarray | None = None
    modules: np.ndarray | None = None
    networks: Mapping[str, np.ndarray] = field(default_factory=dict)
    parts: np.ndarray | None = None
    projection: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("predicted", "observed", "control"):
            self._check(name, ndim=2, axis=1)
        for name in ("predicted_mean", "observed_mean", "control_mean", "observed_statistic", "systema_reference"):
            self._check(name, ndim=1, axis=0)
        for name in ("projection", "modules"):
            self._check(name, ndim=2, axis=0)
        self._check("parts", ndim=2, axis=1)

    def _check(self, name: str, *, ndim: int, axis: int) -> None:
        value, n_genes = getattr(self, name), np.shape(self.observed)[-1]
        if value is None:
            return
        if not isinstance(value, np.ndarray) or value.ndim != ndim or value.shape[axis] != n_genes:
            msg = (
                f"`{name}` is a {type(value).__name__} of shape {np.shape(value)}; expected a dense array with {ndim} "
                f"axes and, on axis {axis}, the {n_genes} genes of `observed`."
            )
            raise ValueError(msg)

    @cached_property
    def profiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and observed mean profile, each ``(G,)``."""
        predicted = mean_profile(self.predicted) if self.predicted_mean is None else self.predicted_mean
        return predicted, mean_profile(self.observed) if self.observed_mean is None else self.observed_mean

    @cached_property
    def control_profile(self) -> np.ndarray:
        """Mean profile ``(G,)`` of the control cells."""
        return mean_profile(self.control) if self.control_mean is None else self.control_mean

    @cached_property
    def predicted_effect(self) -> np.ndarray:
        """Predicted mean minus control mean, ``(G,)``."""
        return difference(self.profiles[0], self.control_profile)

    @cached_property
    def observed_effect(self) -> np.ndarray:
        """Observed mean minus control mean, ``(G,)``."""
        return difference(self.profiles[1], self.control_profile)

    @cached_property
    def observed_test(self) -> WelchTest:
        """Test of observed against control cells; it does not depend on the prediction."""
        return welch_t(self.observed, self.control)

    @cached_property
    def statistic(self) -> np.ndarray:
        """Test statistic ``(G,)`` of observed against control cells."""
        return self.observed_test.statistic if self.observed_statistic is None else self.observed_statistic

    @cached_property
    def noisy_means(self) -> tuple[NoisyMean, NoisyMean, NoisyMean]:
        """Mean of predicted, observed and control cells, each with its sampling variance."""
        cells, n = (self.predicted, self.observed, self.control), self.counts or (None, None, None)
        means = (*self.profiles, self.control_profile)
        predicted, observed, control = (
            noisy_mean(one, mean=mean, n=count) for one, mean, count in zip(cells, means, n, strict=True)
        )
        return predicted, observed, control

    def strongest_genes(self, k: int) -> np.ndarray:
        """Observed differentially expressed genes without the targets: `top_genes` or the `k` with the largest absolute t."""
        if self.top_genes is not None:
            return self.top_genes[~np.isin(self.top_genes, [] if self.target_genes is None else self.target_genes)]
        return top_genes(self.statistic, k=k, exclude=self.target_genes)
