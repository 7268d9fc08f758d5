"""Score cells with verifiers, whoever made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import torch

from scperturbrl._core import keys, log
from scperturbrl._core.machine.memory_limit import DEFAULT_LIMIT
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.machine.threads import pinned
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import layer_hash, split_hash, warn_other_split
from scperturbrl._core.validate import check_choice
from scperturbrl._core.write import ABSENT, write
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.depth import at_depths, condition_depths
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.reference.guess_table import METHODS
from scperturbrl.data.reference.stored import reference_depths
from scperturbrl.data.scoring.scorer import Scorer
from scperturbrl.data.scoring.targets import ScoredCells
from scperturbrl.verifiers.registry import DEFAULT, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.data.cells.depth import Depths
    from scperturbrl.verifiers.base import Verifier

_UNREADABLE = (
    "No counts can be read off the cells to be scored, so their sequencing depth is unknown and they are scored as they are. "
    "The reference was made at one depth in each control group."
)


@own_torch
@pinned
def score(
    adata: AnnData | MuData,
    *,
    reference: AnnData | str = "training",
    layer: str | None = None,
    key_added: str | None = None,
    verifiers: Sequence[str | Verifier] = DEFAULT,
    weights: Mapping[str, float] | None = None,
    pseudo_references: str | None = None,
    percentile: bool = False,
    memory_limit: str | int = DEFAULT_LIMIT,
    modality: str | None = None,
) -> None:
    """Score every perturbed cell of ``X`` or of a layer against what real cells say of its condition.

    Works on log-normalised cells of any origin: generated here (a layer), predicted by another tool (an AnnData of their
    own, see `reference`), or measured. Real cells are scored against references that they did not help to define. Cells of
    conditions that are deeper than their reference are thinned to its depth first, where counts can be read off them: depth
    alone moves scores.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.reference`; or, with ``reference=...``, any AnnData with the same
        perturbation, covariate and dose columns.
    reference
        ``"training"``: the reference stored in `adata`; cells of conditions without training cells get NaN.
        Another AnnData: the reference stored there, for cells that have none of their own. Genes are matched by name, in
        any order; further genes are not looked at.
        ``"observed"``: the measured cells of each condition whatever their split. This uses held-out cells and is for
        evaluation only; the results say so in ``uns["score_<key>"]["uses_held_out_cells"]``.
    layer
        Layer to score; ``X`` (or the layer declared in the setup) by default.
    key_added
        Name of the results; `layer` by default, else ``"observed"``, or ``"generated"`` for cells judged by another AnnData.
    verifiers
        Names (:func:`scperturbrl.verifiers.show`) or verifiers.
    weights
        Importance of each verifier in the combined reward; 1 where not given.
    pseudo_references
        ``"additive"`` or ``"ridge"``: guess a reference for conditions without training cells from the effects of their
        parts, or of the same perturbation elsewhere. Such scores are marked, see below. By default they are NaN.
    percentile
        Whether to say where each cell falls among the real training cells of its condition. Costs as much as scoring real
        cells does.
    memory_limit
        Memory to work on cells in, such as ``"500 MB"``. Cells in a file (``backed="r"``, zarr, dask) are read in blocks that
        fit; the scores are the same.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    Nothing. Writes

    - ``obsm["score_<key>"]``: DataFrame cells x verifiers, raw scores (ranges: :func:`scperturbrl.verifiers.show`),
    - ``obs["<key>_reward"]``: calibrated scores combined, 0 like a control cell, 1 like a typical real perturbed cell, no
      credit beyond; verifiers that cannot tell the two apart in a condition have no say there,
    - ``obs["<key>_percentile"]`` if wanted: share of the real training cells of the condition, in (0, 1], that score no
      higher, before saturation. Over new real cells it is uniform, so a cell below .05 is one that only a twentieth of the
      real cells are as bad as (a conformal p-value). NaN for guessed references,
    - ``uns["score_<key>"]``: verifiers, reference used, conditions whose cells were thinned (``thinned``), conditions that could not be scored and why, conditions in which a
      verifier cannot discriminate (``silent``), and guessed references with their reliability (``pseudo_references``: the
      cross-validated share r2 of the effect that such guesses explain).

    Control cells are not scored (NaN).

    Raises
    ------
    KeyError
        If the layer, a declared column or a verifier does not exist.
    ValueError
        If there is no reference, genes are missing, or the cells are not log-normalised.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.score(adata)
    >>> list(adata.obsm["score_observed"].columns)
    ['pearson_topk', 'rmse_topk', 'de_spearman', 'pathway_activity']

    Cells of another tool, genes in any order:

    >>> theirs = adata[adata.obs["perturbation"] != "control", adata.var_names[::-1]].copy()
    >>> spr.tl.score(theirs, reference=adata)
    >>> "generated_reward" in theirs.obs
    True
    """
    adata = pick(adata, modality)
    home, kind = (reference, "training") if isinstance(reference, ad.AnnData) else (adata, reference)
    check_choice("reference", kind, ["training", "observed"])
    if pseudo_references is not None:
        check_choice("pseudo_references", pseudo_references, list(METHODS))
        if kind == "observed":
            msg = "`pseudo_references` stand in for training cells; with `reference='observed'` nothing is missing."
            raise ValueError(msg)
    started = log.start("scoring cells")
    chosen = resolve(verifiers)
    measured = Cells.of(home, Setup.of(home), memory_limit=memory_limit)
    depths = condition_depths(measured) if kind == "observed" else reference_depths(home)
    depths = None if depths is None else depths.completed(measured)
    cells = measured if depths is None else at_depths(measured, depths)
    foreign = home is not adata
    if foreign:
        target = ScoredCells.of_other(adata, home, measured, layer)
    else:
        target = ScoredCells.own(adata, cells, measured, layer)
    target, thinned = _at_depths(target, depths)
    made_under = "" if foreign or layer is None else layer_hash(adata, layer)
    warn_other_split(home, {f"`layers[{layer!r}]`": made_under}, "Generate it again under the present split.")
    values = importance(chosen, weights)
    if kind == "observed":
        scorer = Scorer.observed(home, cells, chosen, values, percentile=percentile)
    else:
        scorer = Scorer.training(home, cells, chosen, values, observed=target.observed, percentile=percentile)
        if pseudo_references is not None:
            scorer = scorer.with_guesses(home, cells, target, method=pseudo_references)
    found = scorer.run(target, memory=cells.memory)
    key = key_added or layer or (keys.GENERATED if foreign else keys.OBSERVED)
    scores = pd.DataFrame(found.scores, index=adata.obs_names, columns=[v.name for v in chosen])
    record = _record(target, scorer, found.scores, kind) | {
        "thinned": thinned,
        "split_hash": split_hash(home),
        **_columns(Setup.of(home)),
    }
    _tell_not_scored(record)
    write(
        adata,
        obsm={keys.score(key): scores},
        obs={
            keys.reward(key): found.rewards,
            keys.percentile(key): found.percentiles if percentile else ABSENT,
        },
        uns={keys.score(key): record},
    )
    slots = [f"obsm[{keys.score(key)!r}]", f"obs[{keys.reward(key)!r}]", f"uns[{keys.score(key)!r}]"]
    log.finish(started, slots + ([f"obs[{keys.percentile(key)!r}]"] if percentile else []))


def importance(verifiers: Sequence[Verifier], weights: Mapping[str, float] | None) -> torch.Tensor:
    """Importance ``(V,)`` of each verifier, 1 where `weights` does not name it.

    Raises
    ------
    KeyError
        If `weights` names anything else.
    ValueError
        If one is negative.
    """
    if not verifiers:
        msg = "`verifiers` is empty; name at least one (`scperturbrl.verifiers.show()` lists them)."
        raise ValueError(msg)
    given = dict(weights or {})
    names = [verifier.name for verifier in verifiers]
    unknown = sorted(set(given) - set(names))
    if unknown:
        msg = f"`weights` names {unknown}, not among the verifiers {names}."
        raise KeyError(msg)
    for name, value in given.items():
        if not value >= 0:
            msg = f"`weights[{name!r}]` is {value!r}; it must not be negative. Use 0 to leave a verifier out."
            raise ValueError(msg)
    return torch.tensor([float(given.get(name, 1)) for name in names])


def _columns(setup: Setup) -> dict[str, Any]:
    """What tells conditions apart; cells that are judged by another AnnData carry no setup of their own."""
    dose = [setup.dose_key] if setup.dose_key else []
    return {"columns": [setup.perturbation_key, *setup.covariate_keys, *dose], "control": setup.control}


def _at_depths(target: ScoredCells, depths: Depths | None) -> tuple[ScoredCells, np.ndarray]:
    """The cells at the depths of the reference, where it says which, and names of the conditions that were thinned."""
    if depths is None:
        return target, np.array([], dtype=str)
    found, thinned, readable = target.at_depths(depths)
    if not readable:
        log.tell(_UNREADABLE)
    return found, thinned


def _tell_not_scored(record: dict[str, Any]) -> None:
    names = [str(name) for name in record["not_scored"]]
    if names and not record["uses_held_out_cells"]:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        log.tell(
            f"{', '.join(map(repr, names[:3]))}{more}: no scores, because training cells say nothing of what is held out. "
            "`reference='observed'` lets measured cells of a condition judge, for evaluation only."
        )


def _record(target: ScoredCells, scorer: Scorer, scores: np.ndarray, reference: str) -> dict[str, Any]:
    perturbed = np.unique(target.conditions[~target.is_control].astype(str))
    scored = np.unique(target.conditions[np.isfinite(scores).any(1)].astype(str))
    silent = [(name, verifier) for verifier, found in scorer.silent().items() for name in found]
    record: dict[str, Any] = {
        "reference": reference,
        "uses_held_out_cells": reference == "observed",
        "verifiers": [verifier.name for verifier in scorer.verifiers],
        "not_scored": np.setdiff1d(perturbed, scored),
        "reason": "held out, or too few cells: the cells that may be used say nothing of these conditions",
        "silent": pd.DataFrame(silent, columns=["condition", "verifier"], index=[str(i) for i in range(len(silent))]),
    }
    if scorer.trust is not None:
        record["pseudo_references"] = scorer.trust
    return record
