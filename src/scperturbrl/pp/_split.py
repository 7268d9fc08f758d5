"""Hold out whole conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.modality import pick
from scperturbrl._core.random import Seed, numpy_rng, resolve_seed
from scperturbrl._core.validate import check_fraction, check_obs_column, near_matches
from scperturbrl.data.conditions import condition_table, parse_perturbation
from scperturbrl.data.registry import Setup
from scperturbrl.data.split import SplitManifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from mudata import MuData


def split(
    adata: AnnData | MuData,
    *,
    holdout: str = "combinations",
    values: Sequence[str] | None = None,
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
    values
        What to hold out: combinations, perturbations or covariate values. Drawn at random by default.
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
        If nothing can be held out this way, or nothing would be left to train on.

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
    if holdout == "column":
        labels = _given(adata, table, codes, column)
        described = f"column {column}"
    else:
        pool = _candidates(table, setup, holdout)
        chosen = _choose(pool, values, fraction, numpy_rng(seed, 0), setup=setup, holdout=holdout)
        labels = pd.Series(keys.TRAIN, index=table.index)
        labels[[name for unit in chosen for name in pool[unit]]] = keys.TEST
        needed = _needed_alone(table, labels) if holdout == "combinations" else []
        _set_validation(labels, table, pool, chosen, validation_fraction, numpy_rng(seed, 1), needed=needed)
        described = f"{holdout}: {', '.join(chosen)}"
    if not ((labels == keys.TRAIN) & ~table["is_control"]).any():
        msg = f"Holding out {described} leaves no perturbed condition to train on. Lower `fraction` or name fewer `values`."
        raise ValueError(msg)
    parts = {label: tuple(labels.index[labels == label]) for label in (keys.TRAIN, keys.VALIDATION, keys.TEST)}
    manifest = SplitManifest(holdout=described, seed=seed, **parts)
    categories = [keys.TRAIN, keys.VALIDATION, keys.TEST]
    adata.obs[keys.SPLIT] = pd.Categorical(labels.to_numpy()[codes], categories=categories).remove_unused_categories()
    adata.uns[keys.SETUP]["split"] = manifest.to_uns()
    # it was made of the training cells of another split
    adata.uns[keys.SETUP].pop("reference", None)
    log.note(f"    {len(manifest.test)} conditions for the test, {len(manifest.validation)} for validation")
    log.finish(started, [f"obs[{keys.SPLIT!r}]", f"uns[{keys.SETUP!r}]['split']"])


def _candidates(table: pd.DataFrame, setup: Setup, holdout: str) -> dict[str, list[str]]:
    """Units that can be held out, each with the conditions that go with it."""
    perturbed = table[~table["is_control"]]
    if holdout == "combinations":
        alone = {parts[0] for parts in perturbed["parts"] if len(parts) == 1}
        rows = perturbed[[len(parts) > 1 and set(parts) <= alone for parts in perturbed["parts"]]]
        units = {str(name): list(group.index) for name, group in rows.groupby("perturbation")}
        why = "no combination has all its parts measured alone"
    elif holdout == "perturbations":
        names = sorted({part for parts in perturbed["parts"] for part in parts})
        units = {name: [row for row, parts in perturbed["parts"].items() if name in parts] for name in names}
        why = "there are no perturbations"
    elif holdout in setup.covariate_keys:
        value = perturbed["covariates"].str[setup.covariate_keys.index(holdout)]
        units = {str(name): list(group.index) for name, group in perturbed.groupby(value)}
        why = "there are no perturbed cells"
    else:
        options = ["combinations", "perturbations", "column", *setup.covariate_keys]
        msg = f"`holdout` is {holdout!r}.{near_matches(holdout, options)} Covariates must be declared in `pp.setup_anndata`."
        raise KeyError(msg)
    if not units:
        msg = f"`holdout={holdout!r}` is impossible: {why}."
        raise ValueError(msg)
    return units


def _choose(
    pool: dict[str, list[str]],
    values: Sequence[str] | None,
    fraction: float,
    rng: np.random.Generator,
    *,
    setup: Setup,
    holdout: str,
) -> list[str]:
    if values is None:
        n = min(max(1, round(fraction * len(pool))), max(1, len(pool) - 1))
        return sorted(rng.choice(sorted(pool), size=n, replace=False).tolist())
    values = [values] if isinstance(values, str) else [str(value) for value in values]
    if holdout == "combinations":
        parsed = [parse_perturbation(value, control=setup.control, sep=setup.perturbation_sep) for value in values]
        values = [setup.perturbation_sep.join(parts) for parts in parsed]
    for value in values:
        if value not in pool:
            msg = f"{value!r} cannot be held out with `holdout={holdout!r}`.{near_matches(value, pool)}"
            raise KeyError(msg)
    return sorted(values)


def _needed_alone(table: pd.DataFrame, labels: pd.Series) -> list[str]:
    """Conditions of one part that a held-out combination has, which must be learnt from."""
    parts = {part for held_out in table.loc[labels == keys.TEST, "parts"] for part in held_out}
    return [name for name, own in table["parts"].items() if len(own) == 1 and own[0] in parts]


def _set_validation(
    labels: pd.Series,
    table: pd.DataFrame,
    pool: dict[str, list[str]],
    chosen: list[str],
    fraction: float,
    rng: np.random.Generator,
    *,
    needed: Sequence[str],
) -> None:
    """Label some of the perturbed training conditions, but none that is `needed` there, as validation, in place."""
    remaining = labels.index[(labels == keys.TRAIN) & ~table["is_control"]]
    if fraction == 0 or len(remaining) < 3:
        return
    kind = [unit for unit in sorted(pool) if unit not in chosen and set(pool[unit]) <= set(remaining)]
    target, order = max(1, round(fraction * len(remaining))), rng.permutation(len(kind))
    taken: list[str] = []
    for unit in (kind[i] for i in order[:-1] if len(order) > 1):
        if taken and len(taken) + len(pool[unit]) > target:
            break
        taken += pool[unit]
    spare = remaining.difference(needed)
    if not taken and len(spare):
        taken = [str(rng.choice(spare))]
    labels[taken] = keys.VALIDATION


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
