"""Perturbation labels and the table of conditions."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core.validate import near_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

    from scperturbrl.data.cells.setup import Setup

# a slash in a name would become a group in an h5ad file
_SLASH = "∕"
MOST_BYTES = 200


def parse_perturbation(label: str, *, control: str, sep: str) -> tuple[str, ...]:
    """Split a label into the sorted parts of a perturbation; the control label gives ``()``.

    ``A+B`` and ``B+A`` are the same, and a part that is the control (``A+ctrl``, ``control+A``) is dropped. The control
    label itself may contain the separator, and text in brackets is not split.

    Examples
    --------
    >>> parse_perturbation("KLF1+ctrl", control="ctrl", sep="+")
    ('KLF1',)
    >>> parse_perturbation("KLF1+CEBPA", control="control", sep="+")
    ('CEBPA', 'KLF1')
    >>> parse_perturbation("(+)-JQ1+DMSO", control="DMSO", sep="+")
    ('(+)-JQ1',)
    """
    if str(label) == control:
        return ()
    parts = {part.strip() for part in _split_label(str(label), sep)} - {""}
    # inside a combination, common spellings of the control are accepted as well as the declared label
    ignored = {control, "ctrl", "control"} if len(parts) > 1 else {control}
    return tuple(sorted(parts - ignored))


def _split_label(label: str, sep: str) -> list[str]:
    """Split at separators outside of brackets; at all separators if brackets are not closed."""
    pieces, start, depth, place = [], 0, 0, 0
    while place < len(label):
        if depth == 0 and label.startswith(sep, place):
            pieces.append(label[start:place])
            place += len(sep)
            start = place
            continue
        depth += (label[place] in "([{") - (label[place] in ")]}")
        if depth < 0:
            break
        place += 1
    return [*pieces, label[start:]] if depth == 0 else label.split(sep)


def _short(name: str) -> str:
    """`name` itself, or its beginning and a hash if it is too long: names in files have at most 255 bytes."""
    if len(name.encode()) <= MOST_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: MOST_BYTES - 12].decode(errors="ignore") + "…" + digest


def condition_name(parts: Iterable[str], *, setup: Setup, dose: float | None, covariates: Iterable[str]) -> str:
    """Name of a condition: its perturbation, then dose and covariates if they are declared."""
    name = setup.perturbation_sep.join(parts) or setup.control
    extras = [f"{setup.dose_key}={dose:g}"] if setup.dose_key and dose is not None else []
    extras += [f"{key}={value}" for key, value in zip(setup.covariate_keys, covariates, strict=True)]
    return _short(" | ".join([name, *extras]).replace("/", _SLASH))


def find_conditions(wanted: Sequence[str] | str, table: pd.DataFrame, setup: Setup) -> list[str]:
    """Return the unique names of the measured conditions in `wanted`.

    `wanted` is one name or several: names in `table`, with the parts of a combination in any order, or perturbation
    labels, which stand for all conditions with that perturbation.

    Raises
    ------
    KeyError
        If a name is not a condition of `table`.
    ValueError
        If a name stands for control cells.
    """
    found: list[str] = []
    for given in [wanted] if isinstance(wanted, str) else wanted:
        label, *rest = str(given).split(" | ")
        parts = parse_perturbation(label, control=setup.control, sep=setup.perturbation_sep)
        name = " | ".join([setup.perturbation_sep.join(parts) or setup.control, *rest]).replace("/", _SLASH)
        perturbation = setup.perturbation_sep.join(parts) or setup.control
        name = given if given in table.index else name
        same = (
            [name] if name in table.index else [] if rest else list(table.index[table["perturbation"] == perturbation])
        )
        if not same:
            msg = f"There is no condition {given!r}.{near_matches(str(given), table.index)}"
            raise KeyError(msg)
        if table.loc[same, "is_control"].any():
            msg = f"{given!r} in `conditions` names control cells. Name perturbed conditions."
            raise ValueError(msg)
        found += same
    return list(dict.fromkeys(found))


def condition_table(adata: AnnData, setup: Setup, *, where: str = "`adata`") -> tuple[pd.DataFrame, np.ndarray]:
    """Tabulate the conditions of `adata`, which messages call `where`.

    Returns
    -------
    table
        One row per condition, indexed by its name, in order of first appearance within sorted names. Columns:
        ``perturbation`` (canonical label), ``parts`` (tuple), ``is_control``, ``dose``, ``covariates`` (tuple of
        values), ``group`` (name of the covariates, shared with the control condition), ``n_cells``.
    codes
        ``(n_obs,)`` the row of `table` of each cell.

    Raises
    ------
    KeyError
        If a declared column is absent.
    """
    declared = [setup.perturbation_key, *setup.covariate_keys, *([setup.dose_key] if setup.dose_key else [])]
    for column in declared:
        if column not in adata.obs:
            msg = f"`obs` of {where} has no column {column!r}, which defines conditions.{near_matches(column, adata.obs.columns)}"
            raise KeyError(msg)
    frame = _cell_frame(adata, setup, declared)
    codes, _ = pd.factorize(frame["condition"], sort=True)
    first = frame.drop_duplicates("condition").set_index("condition").sort_index()
    first["n_cells"] = np.bincount(codes, minlength=len(first))
    return first, codes


def _cell_frame(adata: AnnData, setup: Setup, columns: Sequence[str]) -> pd.DataFrame:
    labels = adata.obs[setup.perturbation_key].astype(str)
    parsed = {x: parse_perturbation(x, control=setup.control, sep=setup.perturbation_sep) for x in labels.unique()}
    rows = pd.Series(["\x1f".join(map(str, row)) for row in zip(*(adata.obs[key] for key in columns), strict=True)])
    codes, unique = pd.factorize(rows)
    first = np.unique(codes, return_index=True)[1]
    records = []
    for row in first:
        obs = adata.obs.iloc[row]
        parts = parsed[str(obs[setup.perturbation_key])]
        dose = float(obs[setup.dose_key]) if setup.dose_key and parts else 0.0
        covariates = [str(obs[key]) for key in setup.covariate_keys]
        records.append(condition_record(parts, dose=dose, covariates=covariates, setup=setup))
    return pd.DataFrame(records).iloc[codes].reset_index(drop=True)


def condition_record(parts: tuple[str, ...], *, dose: float, covariates: list[str], setup: Setup) -> dict[str, object]:
    """One row of the condition table, for a condition that may have no cells."""
    return {
        "condition": condition_name(parts, setup=setup, dose=dose if parts else None, covariates=covariates),
        "perturbation": setup.perturbation_sep.join(parts) or setup.control,
        "parts": parts,
        "is_control": not parts,
        "dose": dose,
        "covariates": tuple(covariates),
        "group": _short(" | ".join(covariates)) or "all",
    }
