"""The metrics that are computed for every condition, in the order of a report."""

from __future__ import annotations

from scperturbrl.metrics.metric import Metric


def _distance(name: str, label: str, description: str, source: str) -> Metric:
    return Metric(name, label, best_value=0.0, higher_is_better=False, description=description, source=source)


def _agreement(name: str, label: str, description: str, source: str, *, joint: bool = False) -> Metric:
    return Metric(name, label, 1.0, higher_is_better=True, description=description, source=source, joint=joint)


def _ratio(name: str, label: str, description: str, source: str) -> Metric:
    return Metric(name, label, best_value=1.0, higher_is_better=None, description=description, source=source)


BUILT_IN = (
    _distance("l2", "L2", "Euclidean distance of the mean profiles.", "scDFM, ICLR 2026"),
    _distance("mse", "MSE", "Mean squared difference of the mean profiles.", "cell-eval"),
    _distance("mae", "MAE", "Mean absolute difference of the mean profiles.", "cell-eval"),
    _distance(
        "normalised_mse",
        "Noise-corrected MSE",
        "Squared error of the mean as a share of the squared effect, both corrected for sampling noise; 1 is the "
        "control.",
        "cell-eval2, Virtual Cell Challenge 2026",
    ),
    _distance(
        "weighted_mse",
        "Weighted MSE",
        "Mean squared difference of the mean profiles, genes weighted by the evidence for their response.",
        "Mejia et al. 2025",
    ),
    _agreement(
        "weighted_r2_delta",
        "Weighted R2 delta",
        "Weighted variance of the change from the mean of the perturbed centroids that is explained.",
        "Mejia et al. 2025",
    ),
    _agreement(
        "pearson_delta",
        "Pearson delta",
        "Correlation of the changes from the control mean over all genes.",
        "cell-eval",
    ),
    _agreement(
        "pearson_delta_top",
        "Pearson delta, top genes",
        "Correlation of the changes from the control mean over the strongest observed differentially expressed genes.",
        "GEARS, Nature Biotechnology 2024",
    ),
    _agreement(
        "pearson_delta_systema",
        "Pearson delta, specific part",
        "Correlation of the changes from the mean of the perturbed centroids, which removes the shared response.",
        "Systema, Nature Biotechnology 2025",
    ),
    _agreement(
        "spearman_delta",
        "Spearman delta",
        "Rank correlation of the changes from the control mean over all genes.",
        "scPerturBench",
    ),
    _agreement(
        "spearman_delta_systema",
        "Spearman delta, specific part",
        "Rank correlation of the changes from the mean of the perturbed centroids.",
        "Systema, Nature Biotechnology 2025",
    ),
    _agreement(
        "de_spearman",
        "DE Spearman",
        "Rank correlation of the effects over the strongest observed differentially expressed genes.",
        "cell-eval, de_spearman_lfc_sig",
    ),
    _agreement(
        "de_overlap",
        "DE overlap",
        "Share of the observed genes with the largest effects that are among the predicted ones.",
        "cell-eval, overlap_at_k",
    ),
    _agreement(
        "direction_match",
        "Direction match",
        "Share of the strongest observed differentially expressed genes that change in the right direction.",
        "cell-eval, de_direction_match",
    ),
    _distance(
        "lfc_nmae",
        "LFC error",
        "Mean absolute error of the log fold changes of significant genes as a share of their size; 1 is the control.",
        "cell-eval2, Virtual Cell Challenge 2026",
    ),
    _agreement(
        "direction_fidelity",
        "Direction fidelity",
        "Right directions among significant genes, divided by the larger of the numbers called on either side.",
        "cell-eval2, Virtual Cell Challenge 2026",
    ),
    _agreement(
        "direction_reach",
        "Direction reach",
        "Share of the significant genes down to which the predicted ranking has nine of ten directions right.",
        "cell-eval2, Virtual Cell Challenge 2026",
    ),
    _agreement(
        "significant_jaccard",
        "Significant genes, Jaccard",
        "Overlap of the genes significant in predicted and in observed cells, at equal number and depth of cells.",
        "cell-eval2, de_sig_jaccard",
    ),
    _agreement(
        "pathway_correlation",
        "Pathway correlation",
        "Rank correlation of predicted and observed enrichment over the gene sets of the stored network.",
        "decoupler, ulm",
    ),
    _agreement(
        "pathway_recovery",
        "Pathway recovery",
        "Share of the gene sets enriched in the observed effect that are enriched in the predicted one, same "
        "direction.",
        "decoupler, ulm",
    ),
    _agreement(
        "interaction",
        "Interaction residual",
        "Correlation of the effect of a combination beyond the sum of its parts; predicting no effect does not give 0.",
        "Norman et al. 2019",
    ),
    _agreement(
        "interaction_fitted",
        "Interaction residual, fitted",
        "The same after subtracting the best fit of the parts from both sides.",
        "Norman et al. 2019",
    ),
    _agreement(
        "discrimination",
        "Discrimination score",
        "Share of the other conditions that are farther from the prediction than the true one; 0.5 is chance.",
        "Virtual Cell Challenge; Systema, Nature Biotechnology 2025",
        joint=True,
    ),
    _agreement(
        "discrimination_l1",
        "Discrimination score, L1",
        "The same by the sum of absolute differences, which inflated effects can improve.",
        "Virtual Cell Challenge 2025",
        joint=True,
    ),
    _agreement(
        "centroid_accuracy",
        "Centroid accuracy",
        "The same by the Euclidean distance, including the targeted genes.",
        "Systema, Nature Biotechnology 2025",
        joint=True,
    ),
    _distance(
        "energy_distance",
        "Energy distance",
        "Unbiased energy distance of predicted and observed cells; negative values are noise around 0.",
        "Szekely and Rizzo 2013",
    ),
    _distance(
        "mmd",
        "MMD",
        "Unbiased squared maximum mean discrepancy with a mixture of Gaussian kernels.",
        "Gretton et al. 2012; scDFM, ICLR 2026",
    ),
    Metric(
        "classifier_auroc",
        "Classifier AUROC",
        best_value=0.5,
        higher_is_better=None,
        description="How well a linear classifier separates held-out predicted and observed cells; 0.5 is best.",
        source="Lopez-Paz and Oquab 2017",
        engine="scikit-learn",
    ),
    _agreement(
        "neighbour_precision",
        "Neighbour precision",
        "Share of the predicted cells that lie among real ones.",
        "Kynkaanniemi et al. 2019",
    ),
    _agreement(
        "neighbour_recall",
        "Neighbour recall",
        "Share of the observed cells that lie among predicted ones.",
        "Kynkaanniemi et al. 2019",
    ),
    _agreement(
        "neighbour_coverage",
        "Neighbour coverage",
        "Share of the observed cells with a predicted cell near them.",
        "Naeem et al. 2020",
    ),
    _ratio(
        "variance_ratio",
        "Variance ratio",
        "Median over genes of predicted over observed variance; below 1 the cells have collapsed towards their mean.",
        "scperturbrl",
    ),
    _distance(
        "zero_fraction_error",
        "Zero fraction error",
        "Mean absolute difference of the share of cells that do not express a gene.",
        "scperturbrl",
    ),
    _agreement(
        "covariance_correlation",
        "Covariance correlation",
        "Correlation of predicted and observed gene-gene correlations over the responding genes.",
        "cell-eval2, cell_cov",
    ),
    _ratio(
        "eigenvalue_ratio",
        "Eigenvalue ratio",
        "Largest eigenvalue of predicted over observed gene-gene correlations; above 1 genes are too correlated.",
        "cell-eval2, cell_cov",
    ),
    _distance(
        "module_correlation_error",
        "Module correlation error",
        "Mean absolute difference of the correlations between gene modules of the training cells.",
        "scperturbrl",
    ),
)
