"""All metrics of one condition at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core.random import numpy_rng
from scperturbrl.metrics.cells.covariance import covariance_agreement
from scperturbrl.metrics.cells.distribution import classifier_auroc, energy_distance, mmd_rbf
from scperturbrl.metrics.cells.diversity import variance_ratio, zero_fraction_error
from scperturbrl.metrics.cells.modules import module_correlation_error
from scperturbrl.metrics.cells.neighbours import neighbour_scores
from scperturbrl.metrics.differential import de_overlap, de_spearman, direction_match
from scperturbrl.metrics.direction import direction_fidelity, direction_reach
from scperturbrl.metrics.fold_change import lfc_nmae
from scperturbrl.metrics.gene_sets import enrichment_correlation, enrichment_recovery
from scperturbrl.metrics.interaction import interaction_correlation
from scperturbrl.metrics.noise_corrected import normalised_mse
from scperturbrl.metrics.population import l2, mae, mse, pearson_delta, spearman_delta
from scperturbrl.metrics.registry import METRICS
from scperturbrl.metrics.significance import MatchedTests, jaccard_of, matched_tests
from scperturbrl.metrics.weighted import response_weights, weighted_mse, weighted_r2_delta

if TYPE_CHECKING:
    from scperturbrl.metrics.pair import ConditionPair

_NAN = float("nan")
PATHWAY = "pathway"
_ALPHA = 0.05


def compute_metrics(pair: ConditionPair, *, k: int = 50, max_cells: int = 500, seed: int = 0) -> dict[str, float]:
    """Compute every metric of :data:`scperturbrl.metrics.METRICS` that is defined for a single condition.

    Parameters
    ----------
    pair
        Prediction, observation and controls.
    k
        Number of genes in the overlap, and of differentially expressed genes if the pair does not list them.
    max_cells
        Larger populations are subsampled to this number, because the cost of distances is quadratic in it.
    seed
        Of subsamples, folds and matched depths.

    Returns
    -------
    Metric name to value, in the order of the registry; NaN where a metric is undefined. Networks of the pair other than
    ``pathway`` follow as ``<name>_correlation`` and ``<name>_recovery``. Discrimination scores are not included,
    because they compare conditions: see :func:`scperturbrl.metrics.discrimination_score`.

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
    values = _profile_metrics(pair, pair.strongest_genes(k))
    values |= _differential_metrics(pair, pair.strongest_genes(k), k)
    values |= _effect_metrics(pair) | _cell_metrics(pair, pair.strongest_genes(k), max_cells, seed)
    values |= {name: metric.compute(pair) for name, metric in METRICS.items() if metric.compute is not None}
    ordered = {name: float(values.pop(name)) for name, metric in METRICS.items() if not metric.joint}
    return ordered | values


def _profile_metrics(pair: ConditionPair, genes: np.ndarray) -> dict[str, float]:
    profiles, control, systema = pair.profiles, pair.control_profile, pair.systema_reference
    weights, kept, means = np.zeros(len(control)), _without_targets(pair), pair.noisy_means
    weights[kept] = response_weights(pair.statistic[kept])
    return {
        "l2": l2(*profiles),
        "mse": mse(*profiles),
        "mae": mae(*profiles),
        "normalised_mse": normalised_mse(*means[:2], control=means[2], exclude=pair.target_genes),
        "weighted_mse": weighted_mse(*profiles, weights=weights),
        "weighted_r2_delta": _NAN
        if systema is None
        else weighted_r2_delta(*profiles, reference_mean=systema, weights=weights),
        "pearson_delta": pearson_delta(*profiles, reference_mean=control),
        "pearson_delta_top": pearson_delta(*profiles, reference_mean=control, genes=genes),
        "pearson_delta_systema": _NAN if systema is None else pearson_delta(*profiles, reference_mean=systema),
        "spearman_delta": spearman_delta(*profiles, reference_mean=control),
        "spearman_delta_systema": _NAN if systema is None else spearman_delta(*profiles, reference_mean=systema),
    }


def _differential_metrics(pair: ConditionPair, genes: np.ndarray, k: int) -> dict[str, float]:
    effects, keep = (pair.predicted_effect, pair.observed_effect), _without_targets(pair)
    return {
        "de_spearman": de_spearman(*effects, genes=genes),
        "de_overlap": de_overlap(effects[0][keep], effects[1][keep], k=k),
        "direction_match": direction_match(*effects, genes=genes),
        # chosen on observed cells only, so that the prediction does not affect the choice of genes
        "lfc_nmae": lfc_nmae(*effects, genes=keep & (pair.observed_test.padj < _ALPHA)),
    }


def _significance_metrics(pair: ConditionPair, tests: MatchedTests) -> dict[str, float]:
    sides, exclude = (tests.predicted, tests.observed), pair.target_genes
    statistics, padj = [side.statistic for side in sides], [side.padj for side in sides]
    named: dict[str, Any] = {"predicted_padj": padj[0], "observed_padj": padj[1], "alpha": _ALPHA, "exclude": exclude}
    return {
        "significant_jaccard": jaccard_of(tests, alpha=_ALPHA, exclude=exclude),
        "direction_fidelity": direction_fidelity(*statistics, **named),
        "direction_reach": direction_reach(*statistics, **named, predicted_p=sides[0].p_value),
    }


def _effect_metrics(pair: ConditionPair) -> dict[str, float]:
    effects, parts = (pair.predicted_effect, pair.observed_effect), pair.parts
    values = {f"{PATHWAY}_correlation": _NAN, f"{PATHWAY}_recovery": _NAN}
    for name, network in pair.networks.items():
        values[f"{name}_correlation"] = enrichment_correlation(*effects, network=network)
        values[f"{name}_recovery"] = enrichment_recovery(*effects, network=network)
    for name, fitted in (("interaction", False), ("interaction_fitted", True)):
        values[name] = _NAN if parts is None else interaction_correlation(*effects, parts=parts, fitted=fitted)
    return values


def _cell_metrics(pair: ConditionPair, genes: np.ndarray, max_cells: int, seed: int) -> dict[str, float]:
    # One random stream for each population; otherwise populations of equal size would get the same rows.
    streams = numpy_rng(seed, "compared cells").spawn(2)
    sides = zip((pair.predicted, pair.observed), streams, strict=True)
    sampled = [_subsample(cells, max_cells, rng) for cells, rng in sides]
    predicted, observed = (_projected(cells, pair.projection) for cells in sampled)
    neighbours = neighbour_scores(predicted, observed)
    tests = matched_tests(*sampled, control=pair.control, seed=seed)
    covariance = covariance_agreement(tests.cells.predicted, tests.cells.observed, genes=genes)
    return _significance_metrics(pair, tests) | {
        "energy_distance": energy_distance(predicted, observed),
        "mmd": mmd_rbf(predicted, observed),
        "classifier_auroc": classifier_auroc(predicted, observed, seed=seed),
        "neighbour_precision": neighbours.precision,
        "neighbour_recall": neighbours.recall,
        "neighbour_coverage": neighbours.coverage,
        "variance_ratio": variance_ratio(pair.predicted, pair.observed),
        "zero_fraction_error": zero_fraction_error(pair.predicted, pair.observed),
        "covariance_correlation": covariance.correlation,
        "eigenvalue_ratio": covariance.eigenvalue_ratio,
        "module_correlation_error": _NAN
        if pair.modules is None
        else module_correlation_error(*sampled, modules=pair.modules),
    }


def _without_targets(pair: ConditionPair) -> np.ndarray:
    keep = np.ones(len(pair.control_profile), dtype=bool)
    if pair.target_genes is not None:
        keep[np.asarray(pair.target_genes, dtype=np.intp)] = False
    return keep


def _subsample(cells: np.ndarray, max_cells: int, rng: np.random.Generator) -> np.ndarray:
    if len(cells) <= max_cells:
        return cells
    return cells[rng.choice(len(cells), max_cells, replace=False)]


def _projected(cells: np.ndarray, projection: np.ndarray | None) -> np.ndarray:
    return cells if projection is None else cells @ projection
