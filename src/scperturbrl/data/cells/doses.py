"""Checks of measured and requested doses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import log
from scperturbrl._core.provenance import counted
from scperturbrl._core.validate import check_number, check_obs_column

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from anndata import AnnData

    from scperturbrl.data.cells.setup import Setup

_USUAL = frozenset({"dose", "dose_value", "dose_um", "dose_nm", "dosage", "conc", "concentration"})
_ROUNDING = 1e-6
# a label such as [('Bortezomib', 0.05, 'uM')], as in Tahoe-100M
_TUPLES = re.compile(r"^\[\(.+\)\]$")


def check_dose_column(adata: AnnData, key: str, perturbed: np.ndarray, *, perturbation_key: str, control: str) -> None:
    """Check the dose of the `perturbed` cells; values of control cells do not matter.

    Raises
    ------
    KeyError
        If the column is absent.
    ValueError
        If a dose is missing, not a number, not finite, or not above 0.
    """
    check_obs_column(adata[perturbed], key, role="dose")
    dose = adata.obs[key][perturbed]
    if not pd.api.types.is_numeric_dtype(dose.dtype):
        numbers = pd.to_numeric(dose.astype(str), errors="coerce").notna().all()
        line = f"\nadata.obs[{key!r}] = pd.to_numeric(adata.obs[{key!r}].astype(str), errors='coerce')"
        msg = f"`obs[{key!r}]` is not numeric (first value {dose.iloc[0]!r}). Convert the dose to numbers of one unit{':' + line if numbers else '.'}"
        raise ValueError(msg)
    if not (np.isfinite(dose) & (dose >= 0)).all():
        strange = dose[~(np.isfinite(dose) & (dose >= 0))].iloc[0]
        msg = f"`obs[{key!r}]` holds {strange}; a dose must be above 0 and finite."
        raise ValueError(msg)
    zero = (dose == 0).to_numpy()
    if zero.any():
        labels = adata.obs[perturbation_key][perturbed][zero].astype(str)
        msg = (
            f"{int(zero.sum())} perturbed cells ({labels.iloc[0]!r} among them) have dose 0 in `obs[{key!r}]`. A "
            "perturbation at dose 0 is either a control or has an unknown dose. If these cells were not treated, label "
            "them as controls:\n"
            f"adata.obs[{perturbation_key!r}] = adata.obs[{perturbation_key!r}].astype(str).mask(adata.obs[{key!r}] == 0, {control!r})\n"
            "If 0 means an unknown dose, leave `dose_key` out, or drop these cells."
        )
        raise ValueError(msg)


def warn_undeclared_dose(
    adata: AnnData, perturbed: np.ndarray, *, perturbation_key: str, declared: Collection[str | None]
) -> None:
    """Warn if a column that is not `declared` looks like a dose, and one perturbation has several values of it."""
    for key in adata.obs.columns:
        values = adata.obs[key]
        if str(key).casefold() not in _USUAL or key in declared or not pd.api.types.is_numeric_dtype(values.dtype):
            continue
        n_doses = values[perturbed].groupby(adata.obs[perturbation_key][perturbed].astype(str)).nunique()
        if n_doses.max() > 1:
            log.warn(
                f"`obs[{key!r}]` looks like a dose, and {int((n_doses > 1).sum())} perturbations have several ({n_doses.idxmax()!r} has {n_doses.max()}). "
                f"They are treated as one condition. To keep them apart, pass `dose_key={key!r}`."
            )


def check_no_tuples(labels: Iterable[str], key: str) -> None:
    """Raise if labels hold drug, dose and unit in one text.

    Raises
    ------
    ValueError
        With the two lines that take them apart.
    """
    found = next((label for label in labels if _TUPLES.match(label)), None)
    if found is None:
        return
    msg = (
        f"`obs[{key!r}]` holds drug, dose and unit in one label, such as {found!r}. Take them apart:\n"
        f'parsed = adata.obs[{key!r}].astype(str).map(lambda label: __import__("ast").literal_eval(label)[0])\n'
        'adata.obs["drug"], adata.obs["dose"] = parsed.str[0], parsed.str[1].astype(float)\n'
        'and declare `perturbation_key="drug", dose_key="dose"`.'
    )
    raise ValueError(msg)


def check_dose(dose: float, setup: Setup) -> None:
    """Check a requested dose.

    Raises
    ------
    ValueError
        If it is not above 0 and finite, or no dose was declared.
    TypeError
        If it is not a number.
    """
    check_number(dose=dose)
    if not 0 < dose < np.inf:
        msg = f"`dose` is {dose!r}; it must be above 0 and finite. For untreated cells request {setup.control!r}."
        raise ValueError(msg)
    if setup.dose_key is None:
        msg = (
            f"`dose` is {dose!r}, but no dose was declared. Declare `dose_key` in `pp.setup_anndata`, or leave `dose` "
            "out."
        )
        raise ValueError(msg)


def wanted_dose(
    dose: float | None,
    parts: tuple[str, ...],
    name: str,
    table: pd.DataFrame,
    setup: Setup,
    outside: dict[str, tuple[float, float, float]],
) -> float:
    """The dose at which to predict `parts`, 0 if there are no doses; a dose outside the measured range is added to `outside`.

    Raises
    ------
    ValueError
        If a dose is needed and not given; the message lists the measured doses.
    """
    if not parts or setup.dose_key is None:
        return 0.0
    measured = measured_doses(table, parts)
    if dose is None:
        listed = ", ".join(f"{value:g}" for value in measured)
        example = table.index[~table["is_control"]][0]
        msg = f"{name!r} needs a `dose`. Measured doses: {listed}. Or name a condition, such as {example!r}."
        raise ValueError(msg)
    # a measured dose may have been stored with fewer digits
    if not measured[0] * (1 - _ROUNDING) <= dose <= measured[-1] * (1 + _ROUNDING):
        outside[name] = float(dose), measured[0], measured[-1]
    return float(dose)


def warn_outside(outside: Mapping[str, tuple[float, float, float]]) -> None:
    """Warn once of all doses outside the measured range: for each name the dose, and the smallest and largest measured one."""
    if not outside:
        return
    name, (dose, low, high) = next(iter(outside.items()))
    first = f"The dose {dose:g} of {name!r} is outside the measured range ({low:g} to {high:g})"
    if len(outside) == 1:
        log.warn(f"{first}: the prediction is an extrapolation.")
    else:
        log.warn(
            f"{first}, and so are {len(outside) - 1} more ({counted([*outside][1:])}): these predictions are extrapolations."
        )


def measured_doses(table: pd.DataFrame, parts: tuple[str, ...]) -> list[float]:
    """Measured doses of perturbations with any of `parts`; of all perturbations if there are none."""
    perturbed = table[~table["is_control"]]
    own = perturbed[[bool(set(each) & set(parts)) for each in perturbed["parts"]]]
    return sorted(float(value) for value in (own if len(own) else perturbed)["dose"].unique())
