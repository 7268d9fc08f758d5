"""The name of every AnnData slot that the package reads or writes."""

from __future__ import annotations

SETUP = "scperturbrl"
SPLIT = "split"
LAYERS = "generated_layers"
EVALUATION = "evaluation"
PATHWAY_RESPONSE = "pathway_response"
PATHWAY_NETWORK = "pathway_network"
TF_RESPONSE = "tf_response"
TF_NETWORK = "tf_network"

EFFECT = "perturbation_effect"
STATISTIC = "perturbation_statistic"
PADJ = "perturbation_padj"
CONTROL_MEAN = "control_mean"

OBSERVED = "observed"
GENERATOR = "generator"
GENERATOR_RL = "generator_rl"
SCREEN = "screen"

TRAIN, VALIDATION, TEST = "train", "validation", "test"

RNA = "rna"
PATHWAY = "pathway"

ORIGIN = "origin"
GENERATED = "generated"


def score(key: str) -> str:
    """Slot in ``obsm`` with the raw verifier scores of result `key` (cells x verifiers)."""
    return f"score_{key}"


def reward(key: str) -> str:
    """Column in ``obs`` with the combined calibrated reward of result `key`."""
    return f"{key}_reward"


def percentile(key: str) -> str:
    """Column in ``obs`` with the share of real training cells that score no higher than a cell of result `key`."""
    return f"{key}_percentile"


def selected(key: str) -> str:
    """Column in ``obs`` that marks the selected cells of result `key`."""
    return f"{key}_selected"


def selection(key: str) -> str:
    """Slot in ``uns`` with settings and cost of the selection of cells of result `key`."""
    return f"selection_{key}"


def source(key: str) -> str:
    """Column in ``obs`` with the name of the control cell from which a cell was generated."""
    return f"{key}_source"


def pca(key: str) -> str:
    """Slot in ``obsm`` with the generated cells of result `key` in the observed PCA."""
    return f"X_pca_{key}"
