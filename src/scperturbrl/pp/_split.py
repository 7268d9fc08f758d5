"""Hold out whole conditions."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.modality import pick
from scperturbrl._core.random import Seed, numpy_rng, resolve_seed
from scperturbrl._core.validate import check_fraction, check_obs_column
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.split.holdout import COMBINATIONS, candidates, choose, folds, hold_out, without_parts
from scperturbrl.data.split.manifest import SplitManifest, write_split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from mudata import MuData


def split(
    adata: AnnData | MuData,
    *,
    holdout: str | PathLike[str] | SplitManifest = "combinations",
    values: Sequence[str] | None = None,
    parts_seen: int | None = None,
    fraction: float = 0.3,
    validation_fraction: float = 0.1,
    column: str | None = None,
    seed: Seed = 0,
    modality: str | None = None,
) -> None:
    """Hold out whole conditions for the test, and some of the others to watch training.

    Control cells always stay in the training set: they are the input of every prediction.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata`.
    holdout
        What is new in a test condition.

        - ``"combinations"``: the combination. Every part of it stays in the training set alone. Chosen among
          combinations for which that is possible.
        - ``"perturbations"``: a perturbation, with every combination that contains it.
        - a covariate declared in the setup, such as ``"cell_type"``: the context. All its perturbed cells are
          held out, its control cells are not.
        - ``"column"``: as given in ``obs[column]`` with values train, validation and test.
        - a :class:`~scperturbrl.pp.SplitManifest` or the path of one (``.json``): exactly that split.
    values
        What to hold out: combinations, perturbations or covariate values. Drawn at random by default.
    parts_seen
        For drawn combinations: how many of the parts stay in the training set alone. By default all of them. 1 and 0
        take the other parts out of training with every condition that contains them, which are then test conditions too;
        ``parts_seen`` in the table of :func:`~scperturbrl.tl.evaluate` tells them apart. Fewer combinations than asked
        for may allow it.
    fraction
        Share to hold out if `values` is not given, at least one.
    validation_fraction
        Share of the remaining perturbed conditions to set aside for early stopping and for the guard of
        post-training; at least one if above 0 and if at least three conditions remain, unless the parts of held-out
        combinations are all that remains. They are of the kind that is held out (combinations, contexts) where at
        least two of it are left.
    column
        Column of ``obs`` for ``holdout="column"``.
    seed
        Seed or NumPy generator of the draw.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    Nothing. Writes ``obs["split"]`` (categorical: train, validation, test) and the manifest with its hash to
    ``uns["scperturbrl"]["split"]``, and removes a reference, which was made of the training cells of another split.

    Raises
    ------
    KeyError
        If a covariate, a value or the column does not exist.
    ValueError
        If nothing can be held out this way, nothing would be left to train on, or a manifest is of other conditions.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata, holdout="combinations", fraction=0.3)
    >>> sorted(adata.obs["split"].unique())
    ['test', 'train', 'validation']
    """
    adata = pick(adata, modality)
    started = log.start("holding out conditions")
    setup = Setup.of(adata)
    check_fraction(fraction=fraction, validation_fraction=validation_fraction)
    seed = resolve_seed(seed)
    table, codes = condition_table(adata, setup)
    if isinstance(holdout, SplitManifest | PathLike) or holdout.endswith(".json"):
        manifest = holdout if isinstance(holdout, SplitManifest) else SplitManifest.load(holdout)
    elif holdout == "column":
        labels = _given(adata, table, codes, column)
        manifest = SplitManifest.of(labels, table, described=f"column {column}", seed=seed)
    else:
        pool = candidates(table, setup, holdout)
        chosen, removed = _drawn(table, pool, setup, holdout, values, fraction, parts_seen, seed)
        labels = hold_out(
            table, pool, chosen, holdout=holdout, removed=removed, validation_fraction=validation_fraction, seed=seed
        )
        described = f"{holdout}: {', '.join(chosen)}" + (f"; without {', '.join(removed)}" if removed else "")
        manifest = SplitManifest.of(labels, table, described=described, seed=seed)
    write_split(adata, manifest)
    log.finish(started, [f"obs[{keys.SPLIT!r}]", f"uns[{keys.SETUP!r}]['split']"])


def split_folds(
    adata: AnnData | MuData,
    *,
    holdout: str = "combinations",
    k: int = 5,
    validation_fraction: float = 0.1,
    seed: Seed = 0,
    modality: str | None = None,
) -> list[SplitManifest]:
    """Make `k` splits that together hold out everything once.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata`; it is not changed.
    holdout
        ``"combinations"``, ``"perturbations"`` or a covariate, as in :func:`~scperturbrl.pp.split`.
    k
        Number of folds, at most the number of units that can be held out.
    validation_fraction
        As in :func:`~scperturbrl.pp.split`.
    seed
        Seed or NumPy generator of the draw.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    One manifest a fold, to be handed to :func:`~scperturbrl.pp.split` or saved as JSON. With ``"combinations"`` and
    covariates every unit is in exactly one test set. With ``"perturbations"`` a combination is in that of each of its
    parts.

    Raises
    ------
    KeyError
        If the covariate does not exist.
    ValueError
        If `k` is below 2 or above the number of units, or nothing would be left to train on.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> folds = spr.pp.split_folds(adata, k=3)
    >>> spr.pp.split(adata, holdout=folds[0])
    >>> adata.uns["scperturbrl"]["split"]["hash"] == folds[0].hash
    True
    """
    adata = pick(adata, modality)
    setup = Setup.of(adata)
    check_fraction(validation_fraction=validation_fraction)
    seed = resolve_seed(seed)
    table, _ = condition_table(adata, setup)
    pool = candidates(table, setup, holdout)
    if not 2 <= k <= len(pool):
        msg = f"`k` is {k}; it must be at least 2 and at most {len(pool)}, what can be held out with `holdout={holdout!r}`."
        raise ValueError(msg)
    found = []
    for number, chosen in enumerate(folds(pool, k=k, rng=numpy_rng(seed, "folds of conditions"))):
        labels = hold_out(table, pool, chosen, holdout=holdout, validation_fraction=validation_fraction, seed=seed)
        described = f"{holdout}, fold {number + 1} of {k}: {', '.join(chosen)}"
        found.append(SplitManifest.of(labels, table, described=described, seed=seed))
    return found


def _drawn(
    table: pd.DataFrame,
    pool: dict[str, list[str]],
    setup: Setup,
    holdout: str,
    values: Sequence[str] | None,
    fraction: float,
    parts_seen: int | None,
    seed: int,
) -> tuple[list[str], list[str]]:
    """Units to hold out, and parts that have to leave the training set with them."""
    if parts_seen is None:
        return choose(pool, values, fraction, numpy_rng(seed, "held-out units"), setup=setup, holdout=holdout), []
    if holdout != COMBINATIONS or values is not None or parts_seen < 0:
        msg = f"`parts_seen={parts_seen!r}` is for combinations that are drawn: `holdout='combinations'` without `values`."
        raise ValueError(msg)
    n = max(1, round(fraction * len(pool)))
    chosen, removed = without_parts(table, pool, n=n, parts_seen=parts_seen, rng=numpy_rng(seed, "held-out parts"))
    if not chosen:
        msg = f"No combination can be held out with exactly {parts_seen} of its parts seen. Lower `parts_seen`."
        raise ValueError(msg)
    return chosen, removed


def _given(adata: AnnData, table: pd.DataFrame, codes: np.ndarray, column: str | None) -> pd.Series:
    if column is None:
        msg = "`holdout='column'` needs `column=`, the name of a column of `obs`."
        raise ValueError(msg)
    check_obs_column(adata, column, role="split")
    given = adata.obs[column].astype(str)
    strange = set(given.unique()) - {keys.TRAIN, keys.VALIDATION, keys.TEST}
    if strange:
        msg = f"`obs[{column!r}]` holds {sorted(strange)}; only 'train', 'validation' and 'test' are understood."
        raise ValueError(msg)
    per_condition = given.groupby(codes).unique()
    mixed = [table.index[i] for i, found in per_condition.items() if len(found) > 1 and not table["is_control"].iloc[i]]
    if mixed:
        msg = f"`obs[{column!r}]` puts cells of one condition on both sides of the split: {mixed[:5]}. Hold out whole conditions."
        raise ValueError(msg)
    labels = pd.Series([found[0] for found in per_condition], index=table.index)
    labels[table["is_control"].to_numpy()] = keys.TRAIN
    return labels
