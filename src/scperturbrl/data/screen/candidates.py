"""The candidates of a screen as a condition table, and the features of their perturbations."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl.data.cells.conditions import condition_record, parse_perturbation
from scperturbrl.data.cells.doses import check_dose, measured_doses, wanted_dose, warn_outside
from scperturbrl.data.generator.stored import is_generator, read_generator
from scperturbrl.data.generator.vocabulary import check_embeddings
from scperturbrl.data.generator.wanted import covariate_combinations, wanted_conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup

SINGLES, PAIRS = "singles", "pairs"


def candidate_table(
    candidates: str | Sequence[str] | pd.DataFrame,
    cells: Cells,
    setup: Setup,
    *,
    trained: Sequence[str],
    described: Iterable[str],
    covariates: Mapping[str, object] | None,
    dose: float | None,
) -> pd.DataFrame:
    """Condition table of the candidates.

    Parameters
    ----------
    candidates
        ``"singles"``, ``"pairs"``, labels and names of conditions, or a table with the declared columns.
    cells, setup
        The measured cells and their declared columns.
    trained
        Perturbations with training cells.
    described
        Perturbations without training cells but with features.
    covariates, dose
        As for :func:`scperturbrl.tl.predict`. By default, singles and pairs have the largest dose measured for any of their parts.

    Raises
    ------
    ValueError
        If there are no candidates, a covariate or dose is not declared, or a table has a missing label or a dose that is not above 0.
    KeyError
        If a table has no column of perturbations.
    """
    if dose is not None:
        check_dose(dose, setup)
    if isinstance(candidates, pd.DataFrame):
        return _checked(_of_table(candidates, cells, setup, covariates, dose))
    if not isinstance(candidates, str):
        return _checked(wanted_conditions(list(candidates), cells, setup, covariates, dose))
    if candidates not in (SINGLES, PAIRS):
        msg = f"`candidates` is {candidates!r}; it must be one of {SINGLES!r}, {PAIRS!r}, a list of labels, such as `[{candidates!r}]`, or a table."
        raise ValueError(msg)
    singles = [(name,) for name in [*trained, *sorted(set(described) - set(trained) - {setup.control})]]
    parts = singles if candidates == SINGLES else list(combinations(sorted(trained), 2))
    doses = [_dose(own, cells, setup, dose) for own in parts]
    contexts = covariate_combinations(cells, setup, covariates)
    records = [
        condition_record(own, dose=amount, covariates=list(context), setup=setup)
        for context in contexts
        for own, amount in zip(parts, doses, strict=True)
    ]
    return _checked(pd.DataFrame(records).set_index("condition") if records else pd.DataFrame())


def screened_table(frame: pd.DataFrame, cells: Cells, setup: Setup) -> pd.DataFrame:
    """``parts``, ``dose`` and ``group`` of the candidates in `frame`, rows of :func:`scperturbrl.get.screen`.

    Raises
    ------
    ValueError
        If a context no longer has control cells.
    """
    contexts = set(cells.table.loc[cells.table["is_control"], "group"])
    lost = sorted(set(frame["group"].astype(str)) - contexts)
    if lost:
        msg = f"The screen has candidates of {lost[0]!r}, which has no control cells here. Call `scperturbrl.tl.screen` again."
        raise ValueError(msg)
    parts = [
        parse_perturbation(str(label), control=setup.control, sep=setup.perturbation_sep)
        for label in frame["perturbation"]
    ]
    dose = frame["dose"].to_numpy(float) if "dose" in frame else np.zeros(len(frame))
    return pd.DataFrame({"parts": parts, "dose": dose, "group": frame["group"].astype(str)}, index=frame.index)


def perturbation_features(adata: AnnData, key: str | None, embeddings: pd.DataFrame | None) -> pd.DataFrame | None:
    """Features of perturbations: those given, or those that the generator was fitted with, or None for responses of genes."""
    if embeddings is not None:
        return check_embeddings(embeddings)
    if key is None and not is_generator(adata, default_key(adata)):
        return None
    stored = read_generator(adata, default_key(adata, key))
    return None if stored.generator.linear.n_responses else stored.vocabulary.embeddings


def trained_perturbations(cells: Cells) -> list[str]:
    """Perturbations of the training conditions."""
    names = cells.conditions(keys.TRAIN, min_cells=2)
    return sorted({part for parts in cells.table.loc[names, "parts"] for part in parts})


def described_perturbations(cells: Cells, features: pd.DataFrame | None) -> list[str]:
    """Perturbations with features, which can be predicted without any of their cells."""
    return [str(name) for name in (cells.genes if features is None else features.index)]


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    table = table[~table.index.duplicated()]
    table = table[~table["is_control"].to_numpy(dtype=bool)] if len(table) else table
    if not len(table):
        msg = "There are no candidates. Name some in `candidates`: pairs need two perturbations with training cells."
        raise ValueError(msg)
    return table


def _dose(parts: tuple[str, ...], cells: Cells, setup: Setup, dose: float | None) -> float:
    if dose is not None or setup.dose_key is None:
        return float(dose or 0.0)
    return measured_doses(cells.table, parts)[-1]


def _of_table(
    frame: pd.DataFrame, cells: Cells, setup: Setup, covariates: Mapping[str, object] | None, dose: float | None
) -> pd.DataFrame:
    key = setup.perturbation_key
    if key not in frame:
        msg = f"The table of candidates has no column {key!r}, the declared perturbation column. It has {list(frame.columns)[:10]}."
        raise KeyError(msg)
    _check_values(frame, setup)
    records = []
    outside: dict[str, tuple[float, float, float]] = {}
    for row in frame.to_dict("records"):
        parts = parse_perturbation(str(row[key]), control=setup.control, sep=setup.perturbation_sep)
        amount = float(row[setup.dose_key]) if parts and setup.dose_key in row else dose
        amount = wanted_dose(amount, parts, str(row[key]), cells.table, setup, outside)
        given = {name: row[name] for name in setup.covariate_keys if name in frame}
        contexts = covariate_combinations(cells, setup, {**(covariates or {}), **given})
        records += [condition_record(parts, dose=amount, covariates=list(c), setup=setup) for c in contexts]
    warn_outside(outside)
    return pd.DataFrame(records).set_index("condition") if records else pd.DataFrame()


def _check_values(frame: pd.DataFrame, setup: Setup) -> None:
    """Raise if a candidate has no label, or a dose that is missing, not a number or not above 0."""
    key = setup.perturbation_key
    if frame[key].isna().any():
        msg = (
            f"The column {key!r} of the candidates has {int(frame[key].isna().sum())} missing values. Drop these rows."
        )
        raise ValueError(msg)
    if setup.dose_key is None or setup.dose_key not in frame:
        return
    treated = frame[frame[key].astype(str) != setup.control]
    dose = pd.to_numeric(treated[setup.dose_key], errors="coerce")
    wrong = treated.loc[~((dose > 0) & np.isfinite(dose)), setup.dose_key]
    if len(wrong):
        msg = (
            f"The column {setup.dose_key!r} of the candidates holds {wrong.iloc[0]!r}; a dose must be a number above 0."
        )
        raise ValueError(msg)
