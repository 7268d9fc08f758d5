"""The conditions to predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys
from scperturbrl.data.cells.conditions import condition_record, find_conditions, parse_perturbation
from scperturbrl.data.cells.doses import check_dose, wanted_dose, warn_outside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup


def wanted_conditions(
    conditions: Sequence[str] | None,
    cells: Cells,
    setup: Setup,
    covariates: Mapping[str, object] | None,
    dose: float | None,
) -> pd.DataFrame:
    """Condition table for names of known conditions, perturbation labels, or None (the test conditions).

    Raises
    ------
    ValueError
        If a covariate was not declared, a label is empty, or the dose is missing, not declared or not above 0.
    TypeError
        If the dose is not a number.
    KeyError
        If a name with covariates or a dose is not a measured condition.
    """
    if dose is not None:
        check_dose(dose, setup)
    if conditions is None:
        if dose is not None or covariates:
            given = "dose" if dose is not None else "covariates"
            msg = f"`{given}` needs `conditions`. Test conditions have their own values."
            raise ValueError(msg)
        return cells.table.loc[cells.conditions(keys.TEST)]
    records, known = [], list(cells.table.columns[:-1])
    outside: dict[str, tuple[float, float, float]] = {}
    for name in [conditions] if isinstance(conditions, str) else conditions:
        named = _measured(str(name), cells, setup)
        if named and " | " in str(name) and (covariates is not None or dose is not None):
            given = "dose" if dose is not None else "covariates"
            msg = f"{str(name)!r} in `conditions` is the name of a condition, and `{given}` is given too. Pass the label {str(name).split(' | ')[0]!r}, or leave out `{given}`."
            raise ValueError(msg)
        named = named if covariates is None and dose is None else ""
        if named:
            records.append({"condition": named, **cells.table.loc[named, known].to_dict()})
            continue
        if not str(name).replace(setup.perturbation_sep, "").strip():
            msg = f"{name!r} in `conditions` contains no perturbation. Use {setup.control!r} to get control cells."
            raise ValueError(msg)
        parts = parse_perturbation(str(name), control=setup.control, sep=setup.perturbation_sep)
        contexts = covariate_combinations(cells, setup, covariates)
        own = wanted_dose(dose, parts, str(name), cells.table, setup, outside)
        records += [condition_record(parts, dose=own, covariates=list(values), setup=setup) for values in contexts]
    warn_outside(outside)
    if not records:
        return cells.table.iloc[:0]
    return pd.DataFrame(records).drop_duplicates("condition").set_index("condition")


def _measured(name: str, cells: Cells, setup: Setup) -> str:
    """The measured condition called `name`, with the parts of a combination in any order; "" for the label of a perturbation.

    Raises
    ------
    KeyError
        If `name` has a dose or covariates like a condition, but no cells.
    """
    if name in cells.table.index:
        return name
    label, *rest = name.split(" | ")
    if not any(each.split("=")[0] in (*setup.covariate_keys, setup.dose_key) for each in rest):
        return ""
    try:
        return find_conditions(name, cells.table, setup)[0]
    except KeyError as error:
        given = "`covariates`" + (" and `dose`" if setup.dose_key else "")
        msg = f"{error.args[0]} For one that was not measured, pass {label!r} and {given}."
        raise KeyError(msg) from None


def covariate_combinations(cells: Cells, setup: Setup, given: Mapping[str, object] | None) -> list[tuple[str, ...]]:
    """Covariates to predict for: those of control cells that agree with `given`."""
    given = {key: str(value) for key, value in (given or {}).items()}
    for key in given:
        if key not in setup.covariate_keys:
            msg = f"`covariates` names {key!r}, which is not a declared covariate ({list(setup.covariate_keys)})."
            raise ValueError(msg)
    found = cells.table.loc[cells.table["is_control"], "covariates"]
    wanted = [given.get(key) for key in setup.covariate_keys]
    chosen = [row for row in found if all(w is None or w == v for w, v in zip(wanted, row, strict=True))]
    if not len(found):
        msg = (
            f"`adata` has no control cells ({setup.control!r} in `obs[{setup.perturbation_key!r}]`), from which cells are predicted. Keep "
            "them in every subset."
        )
        raise ValueError(msg)
    if not chosen:
        msg = f"No control cells have the covariates {given}; available: {sorted(set(found))[:10]}."
        raise ValueError(msg)
    return chosen
