"""Find conditions that can be held out together, and draw some of them."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.random import numpy_rng
from scperturbrl._core.validate import near_matches
from scperturbrl.data.cells.conditions import parse_perturbation
from scperturbrl.data.split.validation import Kept, set_validation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from scperturbrl.data.cells.setup import Setup
    from scperturbrl.data.split.predictable import Described

COMBINATIONS, NOTHING, COLUMN = "combinations", "nothing", "column"
JOIN = " | "


def hold_out(
    table: pd.DataFrame,
    pool: dict[str, list[str]],
    chosen: Sequence[str],
    *,
    holdout: str | Sequence[str],
    removed: Sequence[str] = (),
    validation_fraction: float,
    described: Described,
    similar: Mapping[str, Sequence[str]],
    seed: int,
) -> pd.Series:
    """Label of every condition if the units `chosen` of `pool` and conditions with a `removed` part are held out."""
    labels = pd.Series(keys.TRAIN, index=table.index)
    labels[[name for unit in chosen for name in pool[unit]]] = keys.TEST
    labels[[name for name, parts in table["parts"].items() if set(parts) & set(removed)]] = keys.TEST
    needed = _needed_alone(table, labels) if holdout == COMBINATIONS else []
    units = {unit: names for unit, names in pool.items() if unit not in chosen}
    rng = numpy_rng(seed, "validation conditions")
    kept = Kept(needed, described, similar)
    set_validation(labels, table, units, validation_fraction, rng, kept)
    return labels


def without_parts(
    table: pd.DataFrame,
    pool: dict[str, list[str]],
    *,
    n: int,
    parts_seen: int,
    described: Described,
    rng: np.random.Generator,
) -> tuple[list[str], list[str]]:
    """Draw combinations with exactly `parts_seen` parts that stay in the training set as single perturbations.

    Returns
    -------
    Up to `n` combinations, and the parts that must be removed from training with all of their conditions.
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
            known = set(gone) <= described.names
            if known and len(chosen) < n and not set(gone) & kept and not stays & removed:
                chosen.append(unit)
                removed |= set(gone)
                kept |= stays
                break
    return sorted(chosen), sorted(removed)


def folds(pool: dict[str, list[str]], *, k: int, rng: np.random.Generator) -> list[list[str]]:
    """Units in `k` disjoint groups of nearly equal size."""
    order = rng.permutation(sorted(pool)).tolist()
    return [sorted(order[fold::k]) for fold in range(k)]


def candidates(table: pd.DataFrame, setup: Setup, holdout: str | Sequence[str]) -> dict[str, list[str]]:
    """Units that can be held out, each with its conditions."""
    perturbed = table[~table["is_control"]]
    if not isinstance(holdout, str):
        return _pairs(perturbed, setup, list(holdout))
    if holdout == "combinations":
        alone = {parts[0] for parts in perturbed["parts"] if len(parts) == 1}
        rows = perturbed[[len(parts) > 1 and set(parts) <= alone for parts in perturbed["parts"]]]
        units = {str(name): list(group.index) for name, group in rows.groupby("perturbation")}
        why = "no combination has all of its parts measured alone"
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
        options = ["combinations", "perturbations", "nothing", "column", *setup.covariate_keys]
        msg = f"`holdout` is {holdout!r}.{near_matches(holdout, options)} Covariates must be declared in `pp.setup_anndata`."
        raise KeyError(msg)
    if not units:
        values = {name: perturbed["covariates"].str[i].nunique() for i, name in enumerate(setup.covariate_keys)}
        others = [name for name, n in values.items() if name != holdout and n > 1]
        remedy = f"a covariate, one of {others}" if others else "a covariate after declaring it in `pp.setup_anndata`"
        single = perturbed["parts"].str.len().eq(1)
        whole = " perturbations (`holdout='perturbations'`), or" if holdout == COMBINATIONS and single.sum() > 1 else ""
        msg = f"`holdout={holdout!r}` is impossible: {why}. Hold out{whole} {remedy}, such as a cell type or donor."
        raise ValueError(msg)
    return units


def _pairs(perturbed: pd.DataFrame, setup: Setup, holdout: list[str]) -> dict[str, list[str]]:
    """Units of several covariates: every combination of their values with perturbed cells."""
    strange = [name for name in holdout if name not in setup.covariate_keys]
    if strange or len(holdout) < 2:
        named = repr(strange[0]) if strange else "fewer than two"
        msg = (
            f"`holdout={holdout!r}` names {named}. A list needs at least two of the declared covariates "
            f"{list(setup.covariate_keys)}; otherwise give a single string."
        )
        raise ValueError(msg)
    places = [setup.covariate_keys.index(name) for name in holdout]
    value = perturbed["covariates"].map(lambda row: JOIN.join(row[i] for i in places))
    units = {str(name): list(group.index) for name, group in perturbed.groupby(value)}
    if len(units) < 2:
        msg = f"`holdout={holdout!r}` is impossible: all perturbed cells have the same {' and '.join(holdout)}."
        raise ValueError(msg)
    return units


def choose(
    pool: dict[str, list[str]],
    values: Sequence[str] | Sequence[Sequence[str]] | None,
    fraction: float,
    rng: np.random.Generator,
    *,
    setup: Setup,
    holdout: str | Sequence[str],
) -> list[str]:
    """Units to hold out: those named in `values`, or a share of the pool drawn with `rng`."""
    if values is None:
        n = min(max(1, round(fraction * len(pool))), max(1, len(pool) - 1))
        return sorted(rng.choice(sorted(pool), size=n, replace=False).tolist())
    named = [values] if isinstance(values, str) else [x if isinstance(x, str) else _joined(x) for x in values]
    if holdout == "combinations":
        parsed = [parse_perturbation(value, control=setup.control, sep=setup.perturbation_sep) for value in named]
        named = [setup.perturbation_sep.join(parts) for parts in parsed]
    for value in named:
        if value not in pool:
            msg = f"{value!r} cannot be held out with `holdout={holdout!r}`.{near_matches(value, pool)}"
            raise KeyError(msg)
    return sorted(named)


def _joined(value: object) -> str:
    """Name of a unit: a value, or several of different covariates."""
    return JOIN.join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _needed_alone(table: pd.DataFrame, labels: pd.Series) -> list[str]:
    """Single-perturbation conditions of the parts of held-out combinations, which must stay in training."""
    parts = {part for held_out in table.loc[labels == keys.TEST, "parts"] for part in held_out}
    return [name for name, own in table["parts"].items() if len(own) == 1 and own[0] in parts]
