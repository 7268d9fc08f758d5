"""Scores before and after post-training, one row a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import near_matches
from scperturbrl.data.cells.cells import split_labels
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.get._slots import read_reward, read_scores

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def reward_shift(
    adata: AnnData | MuData,
    *,
    before: str = keys.GENERATOR,
    after: str = keys.GENERATOR_RL,
    verifier: str | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the mean reward of every condition before and after post-training.

    Conditions that the training cells say nothing of, or in which no verifier tells real from control cells, have no
    reward. To compare held-out conditions, score the layers against the observed cells under names of their own (``tl.score(adata, layer="generator", reference="observed",
    key_added="...")``) and pass these as `before` and `after`.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.score` of both layers.
    before, after
        Names of the scores.
    verifier
        Raw score of this verifier instead of the reward.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    One row per perturbed condition:

    ``condition``, ``perturbation``
        Its name, and its perturbation.
    ``split``, ``seen``
        Split label, and whether training saw the condition.
    ``before``, ``after``, ``shift``
        Means over the cells that were scored, and their difference; NaN where there are none.
    ``observed``
        The same of the real cells; NaN where they were not scored.
    ``n_cells``
        Cells of the condition.

    Raises
    ------
    KeyError
        If the scores do not exist, or the verifier is not among them.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.score(adata)
    >>> frame = spr.get.reward_shift(adata, before="observed", after="observed")
    >>> bool((frame["shift"].dropna() == 0).all())
    True
    """
    adata = pick(adata, modality)
    setup = Setup.of(adata)
    table, codes = condition_table(adata, setup)
    split = pd.Series(split_labels(adata)).groupby(codes).first().to_numpy()
    frame = pd.DataFrame(
        {
            "condition": table.index.astype(str),
            "perturbation": table["perturbation"].to_numpy(),
            keys.SPLIT: split,
            "seen": split == keys.TRAIN,
            "before": _means(adata, before, verifier, codes),
            "after": _means(adata, after, verifier, codes),
        }
    )
    frame["shift"] = frame["after"] - frame["before"]
    scored = keys.score(keys.OBSERVED) in adata.obsm
    frame[keys.OBSERVED] = _means(adata, keys.OBSERVED, verifier, codes) if scored else np.nan
    frame["n_cells"] = table["n_cells"].to_numpy()
    return frame[~table["is_control"].to_numpy()].reset_index(drop=True)


def _means(adata: AnnData, key: str, verifier: str | None, codes: np.ndarray) -> np.ndarray:
    """Mean value of every condition; NaN where no cell has one."""
    if verifier is None:
        values = read_reward(adata, key)
    else:
        scores = read_scores(adata, key)
        if verifier not in scores:
            msg = f"`obsm[{keys.score(key)!r}]` has no verifier {verifier!r}.{near_matches(verifier, scores.columns)}"
            raise KeyError(msg)
        values = scores[verifier].to_numpy(dtype=float)
    return pd.Series(values).groupby(codes).mean().to_numpy()
