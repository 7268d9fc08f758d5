"""Hold out whole conditions."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.random import Seed, numpy_rng, resolve_seed
from scperturbrl._core.validate import check_fraction, check_obs_column
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.split.draw import drawn, only_predictable, warn_unpredictable
from scperturbrl.data.split.holdout import COLUMN, NOTHING, candidates, folds, hold_out
from scperturbrl.data.split.manifest import SplitManifest, check_conditions, write_split
from scperturbrl.data.split.neighbours import similar_contexts
from scperturbrl.data.split.predictable import Described

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from mudata import MuData


@documented
def split(
    adata: AnnData | MuData,
    *,
    holdout: str | Sequence[str] | PathLike[str] | SplitManifest = "combinations",
    values: Sequence[str] | Sequence[Sequence[str]] | None = None,
    parts_seen: int | None = None,
    fraction: float = 0.3,
    validation_fraction: float | None = None,
    column: str | None = None,
    embeddings: pd.DataFrame | None = None,
    seed: Seed = 0,
    modality: str | None = None,
) -> None:
    """Hold out whole conditions for testing, and some of the others for validation.

    Control cells always stay in the training set, because every prediction starts from a control cell. Only predictable
    conditions are drawn: a perturbation that is removed from training is a measured gene or has a row in `embeddings`.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata`.
    holdout
        What is held out, and therefore new in a test condition.

        - ``"combinations"``: the combination. Each of its parts stays in the training set as a single perturbation, so
          only combinations of measured singles are drawn.
        - ``"perturbations"``: a perturbation, with every combination that contains it.
        - a covariate declared in the setup, such as ``"cell_type"``: the context. All its perturbed cells are
          held out, its control cells are not.
        - several covariates, such as ``["cell_type", "donor"]``: the combination of their values.
        - ``"nothing"``: all conditions are trained on and none can be evaluated. There are no validation conditions
          either, unless `validation_fraction` is given.
        - ``"column"``: the split in ``obs[column]``, with the values train, validation and test.
        - a :class:`~scperturbrl.pp.SplitManifest` or the path of one (``.json``): exactly that split.
    values
        What to hold out: combinations, perturbations, covariate values, or with several covariates tuples of values.
        Drawn at random by default.
    parts_seen
        For drawn combinations: number of parts that stay in the training set as single perturbations; by default all.
        With 1 or 0 the other parts are removed from training, and every condition that contains them becomes a test
        condition. ``parts_seen`` in the table of :func:`~scperturbrl.tl.evaluate` distinguishes them. There may be
        fewer such combinations than requested.
    fraction
        Share of the conditions or contexts to hold out if `values` is not given; at least one is held out.
    validation_fraction
        Largest share of the perturbed cells for validation (early stopping, and the guard of post-training); a tenth by
        default. Whole conditions are drawn, if possible of the kind that is held out (combinations, contexts). There
        are none if no condition is small enough. Conditions on which test conditions depend stay in training: parts of
        combinations, the last condition with the same perturbation, part or context, and the context with the most
        similar controls.
    column
        Column of ``obs`` for ``holdout="column"``.
    embeddings
        Features of perturbations that :func:`~scperturbrl.tl.fit_generator` will use, if any. Only perturbations with a
        row can then be removed from training. Without `embeddings`, only measured genes can.
    seed
        Seed or NumPy generator of the draw.
    {modality}

    Returns
    -------
    Nothing. Writes ``obs["split"]`` (categorical: train, validation, test), ``obs["origin"]`` ("observed", unless there
    is such a column) and the manifest with its hash to ``uns["scperturbrl"]["split"]``, and removes a reference,
    because it was made with another split.

    Raises
    ------
    KeyError
        If a covariate, a value or the column does not exist.
    ValueError
        If no condition can be held out this way or none of them is predictable, if no condition would be left for
        training, if a manifest has other conditions, or if `values` or `column` does not go with `holdout`.

    Warns
    -----
    UserWarning
        If test conditions share neither perturbation nor context with training, or conditions in `values` cannot be
        predicted.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata, holdout="combinations", fraction=0.3, validation_fraction=0.15)
    >>> sorted(adata.obs["split"].unique())
    ['test', 'train', 'validation']
    """
    adata = pick(adata, modality)
    started = log.start("holding out conditions")
    setup = Setup.of(adata)
    _check_unused(holdout, values, column)
    own_fraction = _validation_share(validation_fraction, holdout)
    check_fraction(fraction=fraction, validation_fraction=own_fraction)
    seed = resolve_seed(seed)
    table, codes = condition_table(adata, setup)
    described = Described.of(adata.var_names, embeddings)
    if isinstance(holdout, SplitManifest | PathLike) or (isinstance(holdout, str) and _is_manifest(holdout)):
        manifest = holdout if isinstance(holdout, SplitManifest) else SplitManifest.load(holdout)
    elif isinstance(holdout, str) and holdout == COLUMN:
        labels = _given(adata, table, codes, column)
        manifest = SplitManifest.of(labels, table, described=f"column {column}", seed=seed)
    else:
        pool = {} if holdout == NOTHING else candidates(table, setup, holdout)
        chosen, removed = drawn(table, pool, setup, holdout, values, fraction, parts_seen, described, seed)
        labels = hold_out(
            table,
            pool,
            chosen,
            holdout=holdout,
            removed=removed,
            validation_fraction=own_fraction,
            described=described,
            similar=similar_contexts(adata, setup, table, codes),
            seed=seed,
        )
        words = f"{_named(holdout)}: {', '.join(chosen)}" if pool else NOTHING
        words += f"; without {', '.join(removed)}" if removed else ""
        manifest = SplitManifest.of(labels, table, described=words, seed=seed)
    if (
        own_fraction
        and not manifest.validation
        and holdout != "column"
        and not isinstance(holdout, SplitManifest | PathLike)
    ):
        log.note(
            f"    no validation: no condition that can be spared has at most {own_fraction:.0%} of the perturbed cells; "
            "raise `validation_fraction` to take one"
        )
    check_conditions(manifest, table)
    warn_unpredictable(table, pd.Series(manifest.labels(table.index), index=table.index), described)
    write_split(adata, manifest)
    log.finish(started, [f"obs[{keys.SPLIT!r}]", f"uns[{keys.SETUP!r}]['split']"])


@documented
def split_folds(
    adata: AnnData | MuData,
    *,
    holdout: str | Sequence[str] = "combinations",
    k: int = 5,
    validation_fraction: float = 0.1,
    embeddings: pd.DataFrame | None = None,
    seed: Seed = 0,
    modality: str | None = None,
) -> list[SplitManifest]:
    """Make `k` splits that together hold out every unit once.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata`; it is not changed.
    holdout
        ``"combinations"``, ``"perturbations"``, a covariate or several, as in :func:`~scperturbrl.pp.split`.
    k
        Number of folds, at most the number of units that can be held out and predicted.
    validation_fraction, embeddings
        As in :func:`~scperturbrl.pp.split`.
    seed
        Seed or NumPy generator of the draw.
    {modality}

    Returns
    -------
    One manifest for each fold, to pass to :func:`~scperturbrl.pp.split` or to save as JSON. With ``"combinations"`` and
    covariates every unit is in exactly one test set. With ``"perturbations"`` a combination is in the test set of each
    of its parts.

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
    table, codes = condition_table(adata, setup)
    described = Described.of(adata.var_names, embeddings)
    pool = only_predictable(table, candidates(table, setup, holdout), described, holdout)
    if not 2 <= k <= len(pool):
        msg = (
            f"`k` is {k}; it must be at least 2 and at most {len(pool)}, the number of units of `holdout={holdout!r}`."
        )
        raise ValueError(msg)
    similar = similar_contexts(adata, setup, table, codes)
    found = []
    for number, chosen in enumerate(folds(pool, k=k, rng=numpy_rng(seed, "folds of conditions"))):
        labels = hold_out(
            table,
            pool,
            chosen,
            holdout=holdout,
            validation_fraction=validation_fraction,
            described=described,
            similar=similar,
            seed=seed,
        )
        words = f"{_named(holdout)}, fold {number + 1} of {k}: {', '.join(chosen)}"
        found.append(SplitManifest.of(labels, table, described=words, seed=seed))
    return found


def _check_unused(holdout: object, values: Sequence[object] | None, column: str | None) -> None:
    """Raise if `values` is empty, or `holdout` would ignore `values` or `column`."""
    words = "a manifest" if _is_manifest(holdout) else repr(holdout)
    if column is not None and not (isinstance(holdout, str) and holdout == COLUMN):
        msg = f"`column` is {column!r}, but `holdout` is {words}. To follow the column, pass `holdout='column'`; else leave out `column`."
        raise ValueError(msg)
    if values is None:
        return
    if _is_manifest(holdout) or (isinstance(holdout, str) and holdout in (COLUMN, NOTHING)):
        msg = f"`values` is given, but `holdout` is {words}, which does not use it. Pass what the values are, such as `holdout='combinations'`, or leave out `values`."
        raise ValueError(msg)
    if not len(values):
        msg = "`values` is empty. Name what to hold out, or leave out `values`. `holdout='nothing'` trains on all conditions."
        raise ValueError(msg)


def _is_manifest(holdout: object) -> bool:
    return isinstance(holdout, SplitManifest | PathLike) or (isinstance(holdout, str) and holdout.endswith(".json"))


def _validation_share(given: float | None, holdout: object) -> float:
    if given is not None:
        return given
    return 0.0 if isinstance(holdout, str) and holdout == NOTHING else 0.1


def _named(holdout: str | Sequence[str]) -> str:
    return holdout if isinstance(holdout, str) else " and ".join(holdout)


def _given(adata: AnnData, table: pd.DataFrame, codes: np.ndarray, column: str | None) -> pd.Series:
    if column is None:
        msg = "`holdout='column'` needs `column=`, the name of a column of `obs`."
        raise ValueError(msg)
    check_obs_column(adata, column, role="split")
    given = adata.obs[column].astype(str)
    strange = set(given.unique()) - {keys.TRAIN, keys.VALIDATION, keys.TEST}
    if strange:
        msg = f"`obs[{column!r}]` holds {sorted(strange)}; only 'train', 'validation' and 'test' are allowed."
        raise ValueError(msg)
    per_condition = given.groupby(codes).unique()
    mixed = [table.index[i] for i, found in per_condition.items() if len(found) > 1 and not table["is_control"].iloc[i]]
    if mixed:
        msg = (
            f"`obs[{column!r}]` assigns cells of one condition to different parts of the split: {mixed[:5]}. Hold out "
            "whole conditions."
        )
        raise ValueError(msg)
    labels = pd.Series([found[0] for found in per_condition], index=table.index)
    labels[table["is_control"].to_numpy()] = keys.TRAIN
    return labels
