"""Scores before and after post-training, one row for each condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import near_matches
from scperturbrl.data.cells.cells import split_labels
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.get._read.slots import read_reward, read_scores

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

# if the mean reward of the real cells is smaller, it is mostly noise and cannot define a scale
MIN_REAL = 0.1


@documented
def reward_shift(
    adata: AnnData | MuData,
    *,
    before: str = keys.GENERATOR,
    after: str = keys.GENERATOR_RL,
    verifier: str | None = None,
    modality: str | None = None,
) -> pd.DataFrame:
    """Collect the mean reward of every condition before and after post-training: 0 = control cells, 1 = real cells.

    The calibrated :term:`reward` is clipped at that of a typical real cell, so real cells have a mean below 1. Here the
    means of a condition are divided by the mean of its real cells.

    A condition has no reward if it has no training cells, or if no verifier can discriminate its real cells from
    control cells. To compare held-out conditions, score both layers and the real cells with ``reference="observed"``.
    Give the scores of the layers their own names (``key_added``) and pass these as `before` and `after`.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.score` of both layers and of the real cells.
    before, after
        Names of the scores.
    verifier
        Use the raw score of this verifier instead of the reward.
    {modality}

    Returns
    -------
    One row per perturbed condition:

    ``condition``, ``perturbation``
        Its name, and its perturbation.
    ``split``, ``seen``
        Split label, and whether the condition was in training.
    ``before``, ``after``, ``shift``
        Mean rewards of the scored cells, divided by that of the real cells, and their difference. NaN if no cell was
        scored, and if the real cells were not scored or have a mean reward below 0.1. With `verifier`, means of the raw
        score.
    ``observed``
        The same for the real cells, so 1 if there is a reward.
    ``reward_before``, ``reward_after``, ``reward_observed``
        Mean calibrated rewards before the division. Absent with `verifier`.
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
    scored = keys.score(keys.OBSERVED) in adata.obsm
    means = {name: _means(adata, key, verifier, codes) for name, key in (("before", before), ("after", after))}
    means[keys.OBSERVED] = _means(adata, keys.OBSERVED, verifier, codes) if scored else np.full(len(table), np.nan)
    frame = pd.DataFrame(
        {
            "condition": table.index.astype(str),
            "perturbation": table["perturbation"].to_numpy(),
            keys.SPLIT: split,
            "seen": split == keys.TRAIN,
        }
    )
    if verifier is None:
        frame = frame.assign(**_relative(means), **{f"reward_{name}": value for name, value in means.items()})
    else:
        frame = frame.assign(**means)
    frame.insert(frame.columns.get_loc("after") + 1, "shift", frame["after"] - frame["before"])
    frame["n_cells"] = table["n_cells"].to_numpy()
    return frame[~table["is_control"].to_numpy()].reset_index(drop=True)


def _relative(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means as shares of the mean of the real cells; NaN if real cells are hardly above control cells."""
    real = means[keys.OBSERVED]
    scale = np.where(real >= MIN_REAL, real, np.nan)
    return {name: value / scale for name, value in means.items()}


def _means(adata: AnnData, key: str, verifier: str | None, codes: np.ndarray) -> np.ndarray:
    """Mean value of every condition; NaN if no cell has a value."""
    if verifier is None:
        values = read_reward(adata, key)
    else:
        scores = read_scores(adata, key)
        if verifier not in scores:
            msg = f"`obsm[{keys.score(key)!r}]` has no verifier {verifier!r}.{near_matches(verifier, scores.columns)}"
            raise KeyError(msg)
        values = scores[verifier].to_numpy(dtype=float)
    return pd.Series(values).groupby(codes).mean().to_numpy()
