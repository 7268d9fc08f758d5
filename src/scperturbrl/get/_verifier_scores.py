"""Verifier scores of generated and of real cells, one row for each score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._read.slots import CellGroups, chosen, read_scores, select_perturbations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@documented
def verifier_scores(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    groupby: str | None = None,
    verifiers: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the raw verifier scores of generated cells, and of the real cells if they were scored.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.score`.
    key
        Name of the scores: a generator's key, or ``"observed"`` for the real cells alone.
        By default the newest post-trained generator, else ``"generator"``.
    groupby
        Column of ``obs`` that gives the groups; by default the condition, so that cell types and doses are separate.
    verifiers
        Names of the verifiers; all that were scored by default.
    perturbations
        Perturbation labels to keep, in this order; all but the control by default.
    {modality}

    Returns
    -------
    One row per cell and verifier:

    ``cell``
        Its name.
    ``group``
        Its condition, or its value of `groupby`; ordered categories.
    ``origin``
        ``"generated"`` or ``"observed"``. The latter needs ``obsm["score_observed"]``.
    ``verifier``
        Its name, ordered categories.
    ``score``
        Raw score; NaN if the verifier has no reference for the condition.

    Raises
    ------
    KeyError
        If the scores or the column do not exist.
    ValueError
        If a verifier or a perturbation does not occur.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.score(adata)
    >>> frame = spr.get.verifier_scores(adata, key="observed", verifiers="rmse_topk")
    >>> list(frame.columns)
    ['cell', 'group', 'origin', 'verifier', 'score']
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    scores = read_scores(adata, key)
    names = chosen("verifiers", verifiers, list(scores.columns))
    groups = CellGroups.by_condition(adata) if groupby is None else CellGroups.of(adata, groupby)
    mask, wanted = select_perturbations(adata, perturbations)
    tables = {keys.OBSERVED if key == keys.OBSERVED else keys.GENERATED: scores}
    if keys.score(keys.OBSERVED) in adata.obsm:
        tables[keys.OBSERVED] = read_scores(adata, keys.OBSERVED)
    rows = np.flatnonzero(mask)
    labels = np.asarray(groups.labels).astype(str)[rows]
    if groupby is None:
        perturbation = np.asarray(CellGroups.of(adata, None).labels).astype(str)[rows]
        order = _by_perturbation(labels, perturbation, wanted)
    else:
        order = [name for name in groups.labels.categories if name in set(labels)]
    parts = [
        pd.DataFrame(
            {
                "cell": adata.obs_names.to_numpy()[rows],
                "group": labels,
                "origin": origin,
                "verifier": name,
                "score": table[name].to_numpy(dtype=float)[rows] if name in table else np.nan,
            }
        )
        for origin, table in tables.items()
        for name in names
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["group"] = pd.Categorical(frame["group"], categories=order, ordered=True)
    frame["verifier"] = pd.Categorical(frame["verifier"], categories=names, ordered=True)
    return frame


def _by_perturbation(conditions: np.ndarray, perturbations: np.ndarray, wanted: list[str]) -> list[str]:
    """Conditions in the order of their perturbations in `wanted`, and by name within a perturbation."""
    pairs = pd.DataFrame({"condition": conditions, "perturbation": perturbations}).drop_duplicates()
    pairs["rank"] = pairs["perturbation"].map({name: i for i, name in enumerate(wanted)})
    return list(pairs.sort_values(["rank", "condition"])["condition"].unique())
