"""Population metrics, baselines and ceilings, on plain arrays."""

from __future__ import annotations

from scperturbrl._core.lazy import lazy_exports as _lazy_exports

_MODULES = {
    "baselines.means": [
        "AdditiveEffect",
        "MatchingEffect",
        "additive_effect",
        "control_effect",
        "matching_mean_effect",
        "nearest_effect",
        "perturbed_mean_effect",
    ],
    "bootstrap": ["PairedDifference", "paired_bootstrap"],
    "ceiling": ["interpolated_duplicate", "scaled_score", "split_half"],
    "baselines.combination_ridge": ["CombinationRidgeEffect", "combination_ridge_effect"],
    "baselines.denoised": ["denoised_effects"],
    "compute": ["compute_metrics"],
    "baselines.context_line": ["ContextLine", "fit_context_line"],
    "baselines.context_ridge": ["context_ridge_effect"],
    "cells.covariance": ["CovarianceAgreement", "covariance_agreement"],
    "differential": ["WelchTest", "de_overlap", "de_spearman", "direction_match", "top_genes", "welch_t"],
    "direction": ["direction_fidelity", "direction_reach"],
    "discrimination": ["discrimination_score"],
    "cells.distribution": ["classifier_auroc", "energy_distance", "mean_pairwise_distance", "mmd_rbf"],
    "cells.diversity": ["spread_ratio", "variance_ratio", "zero_fraction", "zero_fraction_error"],
    "baselines.embedding_ridge": ["EmbeddingRidgeEffect", "embedding_ridge_effect"],
    "baselines.dose": ["interpolated_dose_effect", "nearest_dose_effect"],
    "fold_change": ["lfc_nmae"],
    "gene_sets": ["Enrichment", "enrichment", "enrichment_correlation", "enrichment_recovery"],
    "interaction": ["interaction_correlation", "interaction_residual"],
    "cells.matching": ["MatchedCells", "match_cells"],
    "cells.modules": ["gene_modules", "module_correlation_error"],
    "cells.neighbours": ["NeighbourScores", "neighbour_scores"],
    "noise_corrected": ["NoisyMean", "noisy_mean", "normalised_mse"],
    "pair": ["ConditionPair"],
    "population": ["l2", "mae", "mse", "pearson_delta", "spearman_delta"],
    "metric": ["Metric"],
    "registry": ["METRICS"],
    "baselines.ridge": ["RidgeEffect", "ridge_effect"],
    "significance": ["MatchedTests", "matched_tests", "significant_jaccard"],
    "weighted": ["response_weights", "weighted_mse", "weighted_r2_delta"],
}

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
    submodules={module.split(".")[0] for module in _MODULES},
)
