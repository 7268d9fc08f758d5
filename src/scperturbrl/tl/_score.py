"""Score cells with verifiers, whoever made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from scperturbrl._core import keys, log
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_choice, check_log_normalised
from scperturbrl.data.cells import Cells
from scperturbrl.data.cross_fit import CrossFit, score_matrix
from scperturbrl.data.registry import Setup, expression
from scperturbrl.data.stored_reference import cross_fit, read_calibration, read_reference
from scperturbrl.verifiers.calibration import Calibration, calibrate, combine
from scperturbrl.verifiers.registry import DEFAULT, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData
    from scipy import sparse

    from scperturbrl.verifiers.base import Verifier

CHUNK = 2048


def score(
    adata: AnnData | MuData,
    *,
    layer: str | None = None,
    key_added: str | None = None,
    verifiers: Sequence[str | Verifier] = DEFAULT,
    weights: Mapping[str, float] | None = None,
    reference: str = "training",
    modality: str | None = None,
) -> None:
    """Score every perturbed cell of ``X`` or of a layer against what real cells say of its condition.

    Works on any layer of log-normalised cells, whether they were generated here, by another model, or measured. Real
    cells (``layer=None``) are scored against references that they did not help to define.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.reference`.
    layer
        Layer to score; the observed expression by default.
    key_added
        Name of the results; `layer`, or ``"observed"``, by default.
    verifiers
        Names (:func:`scperturbrl.verifiers.show`) or verifiers.
    weights
        Importance of each verifier in the combined reward; 1 where not given.
    reference
        ``"training"``: the stored reference; cells of conditions without training cells get NaN. ``"observed"``: the
        measured cells of each condition whatever their split. The latter uses held-out cells and is for evaluation
        only; the results say so in ``uns["score_<key>"]["reference"]``.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    Nothing. Writes

    - ``obsm["score_<key>"]``: DataFrame cells x verifiers, raw scores (ranges: :func:`scperturbrl.verifiers.show`),
    - ``obs["<key>_reward"]``: calibrated scores combined, 0 like a control cell, 1 like a typical real perturbed cell, no
      credit beyond; verifiers that cannot tell the two apart in a condition have no say there,
    - ``uns["score_<key>"]``: verifiers, reference used, conditions that could not be scored and why.

    Control cells are not scored (NaN).

    Raises
    ------
    KeyError
        If the layer or a verifier does not exist.
    ValueError
        If there is no reference or the layer is not log-normalised.

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
    """
    adata = pick(adata, modality)
    check_choice("reference", reference, ["training", "observed"])
    started = log.start("scoring cells")
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    chosen = resolve(verifiers)
    values = expression(adata, layer if layer is not None else setup.layer)
    check_log_normalised(values, where=f"`layers[{layer!r}]`" if layer else "the expression")
    scored = values if layer is not None else None
    scores, rewards = _score_conditions(adata, cells, scored, chosen, importance(chosen, weights), reference)
    key = key_added or layer or keys.OBSERVED
    adata.obsm[keys.score(key)] = pd.DataFrame(scores, index=adata.obs_names, columns=[v.name for v in chosen])
    adata.obs[keys.reward(key)] = rewards
    adata.uns[keys.score(key)] = _record(cells, scores, chosen, reference)
    slot = keys.score(key)
    log.finish(started, [f"obsm[{slot!r}]", f"obs[{keys.reward(key)!r}]", f"uns[{slot!r}]"])


def _score_conditions(
    adata: AnnData,
    cells: Cells,
    layer: sparse.csr_matrix | np.ndarray | None,
    verifiers: Sequence[Verifier],
    weights: torch.Tensor,
    kind: str,
) -> tuple[np.ndarray, np.ndarray]:
    table, tensors = read_reference(adata, cells)
    params = adata.uns[keys.SETUP]["reference"]["params"]
    fitted: CrossFit | None = None
    if kind == "observed":
        conditions, use = _observed_conditions(cells), np.ones(len(cells.codes), dtype=bool)
    else:
        conditions, use = table.conditions, cells.is_training()
    if kind == "observed" or layer is None:
        fitted = cross_fit(adata, cells, use, conditions, verifiers, params)
    calibration = fitted.calibration() if fitted else read_calibration(adata, cells, conditions, verifiers)
    scores = np.full((len(cells.codes), len(verifiers)), np.nan, dtype=np.float32)
    rewards = np.full(len(cells.codes), np.nan)
    for i, row in enumerate(cells.rows(conditions)):
        for index in np.array_split(found := np.flatnonzero(cells.codes == row), max(1, len(found) // CHUNK)):
            if layer is None and fitted is not None:
                raw = fitted.score_cells(index, i)
            else:
                block = cells.block(index, layer)
                one = torch.tensor([i])
                raw = (
                    fitted.score_block(block, i)
                    if fitted
                    else score_matrix(torch.as_tensor(block)[None], verifiers, tensors.select(one))[0]
                )
            scores[index] = raw
            rewards[index] = combined_reward(raw, calibration, i, weights)
    return scores, rewards


def importance(verifiers: Sequence[Verifier], weights: Mapping[str, float] | None) -> torch.Tensor:
    """Importance ``(V,)`` of each verifier, 1 where `weights` does not name it.

    Raises
    ------
    KeyError
        If `weights` names anything else.
    ValueError
        If one is negative.
    """
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


def combined_reward(raw: torch.Tensor, calibration: Calibration, condition: int, weights: torch.Tensor) -> np.ndarray:
    """Combined calibrated reward ``(n,)`` of raw scores ``(n, V)`` of one condition."""
    own = calibration.select(torch.tensor([condition]))
    return combine(calibrate(raw[None], own), own, weights)[0].numpy()


def _observed_conditions(cells: Cells, min_cells: int = 6) -> list[str]:
    count = np.bincount(cells.codes, minlength=len(cells.table))
    return list(cells.table.index[(count >= min_cells) & ~cells.table["is_control"].to_numpy()])


def _record(cells: Cells, scores: np.ndarray, verifiers: Sequence[Verifier], reference: str) -> dict[str, object]:
    perturbed = ~cells.table["is_control"].to_numpy()
    scored = np.zeros(len(cells.table), dtype=bool)
    scored[np.unique(cells.codes[np.isfinite(scores).any(1)])] = True
    return {
        "reference": reference,
        "uses_held_out_cells": reference == "observed",
        "verifiers": [verifier.name for verifier in verifiers],
        "not_scored": cells.table.index[perturbed & ~scored].to_numpy().astype(str),
        "reason": "no reference: too few cells of the condition may be used",
    }
