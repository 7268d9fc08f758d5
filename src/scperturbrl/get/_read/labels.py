"""Readable labels of verifiers, metrics and models."""

from __future__ import annotations

from scperturbrl._core import keys

SCORE_PREFIX = keys.score("")

_MODELS = {
    keys.GENERATOR: "Generator",
    keys.GENERATOR_RL: "Generator, post-trained",
    f"{keys.GENERATOR}_longer": "Generator, extra training (same time)",
    keys.OBSERVED: "Real cells",
    "control": "Control (no effect)",
    "perturbed_mean": "Mean response (0)",
    "matching_mean": "Mean response of the same perturbation",
    "split_half": "Half of the real cells (1)",
    "interpolated_duplicate": "Half of the real cells, shrunk to the mean response",
}


def verifier_label(name: str) -> str:
    """Label of the verifier `name`; a readable form of the name if it is not registered.

    Examples
    --------
    >>> verifier_label("rmse_topk"), verifier_label("my_own_score")
    ('RMSE top-k proximity', 'My own score')
    """
    # the registry loads torch, so it is imported only here
    from scperturbrl.verifiers import registry

    return registry.get(name).label if name in registry.names() else readable(name)


def metric_label(name: str) -> str:
    """Label of a metric, or of the mean score of a verifier.

    Examples
    --------
    >>> metric_label("mse"), metric_label("score_de_spearman")
    ('MSE', 'Verifier: DE Spearman')
    """
    from scperturbrl.metrics.registry import METRICS

    if name.startswith(SCORE_PREFIX):
        return f"Verifier: {verifier_label(name.removeprefix(SCORE_PREFIX))}"
    return METRICS[name].label if name in METRICS else readable(name)


def model_label(name: str) -> str:
    """Label of a model or baseline.

    Examples
    --------
    >>> model_label("generator_rl"), model_label("additive_ridge")
    ('Generator, post-trained', 'Additive ridge')
    """
    return _MODELS.get(name, readable(name))


def readable(name: str) -> str:
    """Turn an identifier into sentence case.

    Examples
    --------
    >>> readable("cell_type")
    'Cell type'
    """
    words = str(name).replace("_", " ").strip()
    return words[:1].upper() + words[1:]
