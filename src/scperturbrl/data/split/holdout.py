"""Which conditions can be held out together, and which of them are drawn."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.random import numpy_rng
from scperturbrl._core.validate import near_matches
from scperturbrl.data.cells.conditions import parse_perturbation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from scperturbrl.data.cells.setup import Setup

COMBINATIONS = "combinations"


def hold_out(
    table: pd.DataFrame,
    pool: dict[str, list[str]],
    chosen: Sequence[str],
    *,
    holdout: str,
    removed: Sequence[str] = (),
    validation_fraction: float,
    seed: int,
) -> pd.Series:
    """Label of every condition when the units `chosen` of `pool` and all conditions with a `removed` part are held out."""
    labels = pd.Series(keys.TRAIN, index=table.index)
    labels[[name for unit in chosen for name in pool[unit]]] = keys.TEST
    labels[[name for name, parts in table["parts"].items() if set(parts) & set(removed)]] = keys.TEST
    needed = _needed_alone(table, labels) if holdout == COMBINATIONS else []
    _set_validation(
        labels, table, pool, chosen, validation_fraction, numpy_rng(seed, "validation conditions"), needed=needed
    )
    return labels


def without_parts(
    table: pd.DataFrame, pool: dict[str, list[str]], *, n: int, parts_seen: int, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Draw combinations of which exactly `parts_seen` parts stay in the training set alone.

    Returns
    -------
    Up to `n` combinations, and the parts that must leave training with every condition that contains them.
    """
    parts_of = {unit: table.loc[names[0], "parts"] for unit, names in pool.items()}
    chosen: list[str] = []
    removed: set[str] = set()
    kept: set[str] = set()
    for unit in rng.permutation(sorted(pool)).tolist():
        parts = parts_of[unit]
        options = list(combinations(parts, len(parts) - parts_seen)) if parts_seen <= len(parts) else []
        for gone in (options[i] for i in rng.permutation(len(options))):
            stays = set(parts) - set(gone)
            if len(chosen) < n and not set(gone) & kept and not stays & removed:
                chosen.append(unit)
                removed |= set(gone)
                kept |= stays
                break
    return sorted(chosen), sorted(removed)


def folds(pool: dict[str, list[str]], *, k: int, rng: np.random.Generator) -> list[list[str]]:
    """Units in `k` disjoint groups of nearly equal size that together hold all of them."""
    order = rng.permutation(sorted(pool)).tolist()
    return [sorted(order[fold::k]) for fold in range(k)]


def candidates(table: pd.DataFrame, setup: Setup, holdout: str) -> dict[str, list[str]]:
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
        why = f"all perturbed cells have the same {holdout}" if len(units) else "there are no perturbed cells"
        units = units if len(units) > 1 else {}
    else:
        options = ["combinations", "perturbations", "column", *setup.covariate_keys]
        msg = f"`holdout` is {holdout!r}.{near_matches(holdout, options)} Covariates must be declared in `pp.setup_anndata`."
        raise KeyError(msg)
    if not units:
        values = {name: perturbed["covariates"].str[i].nunique() for i, name in enumerate(setup.covariate_keys)}
        others = [name for name, n in values.items() if name != holdout and n > 1]
        remedy = f"a covariate, one of {others}" if others else "a covariate after declaring it in `pp.setup_anndata`"
        msg = f"`holdout={holdout!r}` is impossible: {why}. Hold out {remedy}, such as a cell type or donor."
        raise ValueError(msg)
    return units


def choose(
    pool: dict[str, list[str]],
    values: Sequence[str] | None,
    fraction: float,
    rng: np.random.Generator,
    *,
    setup: Setup,
    holdout: str,
) -> list[str]:
    """Units to hold out: those named in `values`, or a share of the pool drawn with `rng`."""
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
    chosen: Sequence[str],
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
