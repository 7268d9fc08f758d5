"""All metrics of one condition at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.differential import de_overlap, de_spearman, direction_match
from scperturbrl.metrics.distribution import energy_distance, mmd_rbf
from scperturbrl.metrics.diversity import variance_ratio, zero_fraction_error
from scperturbrl.metrics.population import l2, mae, mse, pearson_delta

if TYPE_CHECKING:
    from scperturbrl.metrics.pair import ConditionPair


def compute_metrics(pair: ConditionPair, *, k: int = 50, max_cells: int = 500, seed: int = 0) -> dict[str, float]:
    """Compute every metric of :data:`scperturbrl.metrics.METRICS` that one condition alone defines.

    Parameters
    ----------
    pair
        Prediction, observation and controls.
    k
        Number of genes in the overlap, and of differentially expressed genes where the pair does not name them.
    max_cells
        Energy distance and MMD cost the square of the number of cells; larger populations are subsampled to this many.
    seed
        Of the subsample.

    Returns
    -------
    Metric name to value, in the order of the registry; NaN where a metric is undefined. The discrimination score is not
    among them, it compares conditions: see :func:`scperturbrl.metrics.discrimination_score`.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import ConditionPair, compute_metrics
    >>> rng = np.random.default_rng(0)
    >>> control, observed = rng.gamma(2.0, size=(40, 8)), rng.gamma(3.0, size=(40, 8))
    >>> metrics = compute_metrics(ConditionPair(observed, observed, control), k=4)
    >>> metrics["mse"], metrics["de_overlap"], metrics["variance_ratio"]
    (0.0, 1.0, 1.0)
    """
    genes = pair.strongest_genes(k)
    return _profile_metrics(pair, genes) | _differential_metrics(pair, genes, k) | _cell_metrics(pair, max_cells, seed)


def _profile_metrics(pair: ConditionPair, genes: np.ndarray) -> dict[str, float]:
    profiles, control = pair.profiles, pair.control_profile
    systema = pair.systema_reference
    return {
        "l2": l2(*profiles),
        "mse": mse(*profiles),
        "mae": mae(*profiles),
        "pearson_delta": pearson_delta(*profiles, reference_mean=control),
        "pearson_delta_top": pearson_delta(*profiles, reference_mean=control, genes=genes),
        "pearson_delta_systema": np.nan if systema is None else pearson_delta(*profiles, reference_mean=systema),
    }


def _differential_metrics(pair: ConditionPair, genes: np.ndarray, k: int) -> dict[str, float]:
    effects = pair.predicted_effect, pair.observed_effect
    keep = np.ones(len(effects[0]), dtype=bool)
    if pair.target_genes is not None:
        keep[np.asarray(pair.target_genes, dtype=np.intp)] = False
    return {
        "de_spearman": de_spearman(*effects, genes=genes),
        "de_overlap": de_overlap(effects[0][keep], effects[1][keep], k=k),
        "direction_match": direction_match(*effects, genes=genes),
    }


def _cell_metrics(pair: ConditionPair, max_cells: int, seed: int) -> dict[str, float]:
    # One stream for each population, or equal sizes would pick the same rows in both.
    streams = np.random.default_rng(seed).spawn(2)
    sides = zip((pair.predicted, pair.observed), streams, strict=True)
    predicted, observed = (_projected(_subsample(cells, max_cells, rng), pair.projection) for cells, rng in sides)
    return {
        "energy_distance": energy_distance(predicted, observed),
        "mmd": mmd_rbf(predicted, observed),
        "variance_ratio": variance_ratio(pair.predicted, pair.observed),
        "zero_fraction_error": zero_fraction_error(pair.predicted, pair.observed),
    }


def _subsample(cells: np.ndarray, max_cells: int, rng: np.random.Generator) -> np.ndarray:
    if len(cells) <= max_cells:
        return cells
    return cells[rng.choice(len(cells), max_cells, replace=False)]


def _projected(cells: np.ndarray, projection: np.ndarray | None) -> np.ndarray:
    return cells if projection is None else cells @ projection
