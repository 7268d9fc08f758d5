"""Roles of metrics: rewarded, related to a reward, or held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scperturbrl._core import keys
from scperturbrl._core.provenance import layer_note

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData

REWARDED, RELATED, HELD_OUT = "rewarded", "related", "held-out"
ROLES = (REWARDED, RELATED, HELD_OUT)

_CELLS = {"mmd", "classifier_auroc", "neighbour_precision", "neighbour_recall", "neighbour_coverage"}
_DIRECTIONS = {"direction_fidelity", "direction_reach"}
# Metrics that a reward improves although they are not the reward itself. If in doubt, a metric is listed.
_PULLED = {
    "pearson_topk": {"pearson_delta", "pearson_delta_top", "spearman_delta", "direction_match", *_DIRECTIONS},
    "rmse_topk": {"l2", "mse", "mae", "weighted_mse", "normalised_mse", "lfc_nmae"},
    "de_spearman": {
        "de_spearman",
        "de_overlap",
        "pearson_delta_top",
        "spearman_delta",
        "significant_jaccard",
        "lfc_nmae",
        *_DIRECTIONS,
    },
    "energy_witness": {"energy_distance", *_CELLS},
}
_PATHWAY = "pathway_activity"


def trained_with(
    adata: AnnData, generators: Iterable[str], layers: Sequence[str], predictions: Mapping[str, AnnData]
) -> list[dict[str, Any]]:
    """Return the settings with which generators, layers and predictions were trained or selected."""
    makers = [*generators, *(layer_note(adata, layer).get("made_by", "") for layer in layers)]
    trained = [one for key in makers for one in ancestry(adata.uns, key)]
    return [*trained, *(one for other in predictions.values() for one in _chosen_by(other))]


def ancestry(uns: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Settings of a generator and of its ancestors, whose rewards are recorded."""
    record = uns.get(key)
    kept = record.get("params", {}).get("ancestors", {}) if isinstance(record, dict) else {}
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    while key and key not in seen and key in uns:
        seen.add(key)
        found.append(dict(uns[key]["params"]))
        key = str(found[-1].get("parent", ""))
    return [*found, *(dict(each) for each in kept.values())]


def _chosen_by(prediction: AnnData) -> list[dict[str, Any]]:
    """Settings of generation and selection of predicted cells: rewards of the generator, and selecting verifiers."""
    found = [dict(each) for each in prediction.uns.get("prediction", {}).get("rewarded", {}).values()]
    for slot in prediction.uns:
        key = str(slot).removeprefix(keys.selection(""))
        if not str(slot).startswith(keys.selection("")) or keys.selected(key) not in prediction.obs:
            continue
        scores = prediction.uns.get(keys.score(key), {})
        if "verifiers" in scores and prediction.obs[keys.selected(key)].astype(bool).all():
            found.append({"verifiers": {str(name): {} for name in scores["verifiers"]}})
    return found


def metric_roles(
    metrics: Iterable[str], params: Iterable[Mapping[str, Any]], networks: Mapping[str, str]
) -> dict[str, str]:
    """Role of every metric under generators with these settings.

    Parameters
    ----------
    metrics
        Names of metrics.
    params
        Settings of the generators and of their ancestors.
    networks
        Hash of the gene sets of evaluated enrichment, by name.

    Returns
    -------
    Role of each metric. A metric that was rewarded for one of the generators is rewarded for all.
    """
    rewarded: set[str] = set()
    related: set[str] = set()
    for one in params:
        verifiers = [str(name) for name in one.get("verifiers", ())] if _was_rewarded(one) else []
        rewarded |= {keys.score(name) for name in verifiers}
        related |= set().union(*(_PULLED.get(name, set()) for name in verifiers))
        if _PATHWAY in verifiers:
            related |= _enrichment(one.get("network"), networks)
        if "verifiers" in one and one.get("energy_steps"):
            rewarded |= {"energy_distance"}
            related |= _CELLS
    label = lambda name: REWARDED if name in rewarded else RELATED if name in related else HELD_OUT
    return {name: label(name) for name in metrics}


def _was_rewarded(params: Mapping[str, Any]) -> bool:
    # without reward steps, only the energy distance was optimised
    return "verifiers" in params and bool(params.get("reward_steps", 1))


def _enrichment(rewarded: Any, networks: Mapping[str, str]) -> set[str]:
    """Metrics of enrichment in the rewarded network; in all networks if it was not recorded."""
    same = [name for name, digest in networks.items() if rewarded is None or str(rewarded) == digest]
    return {f"{name}_{kind}" for name in same for kind in ("correlation", "recovery")}
