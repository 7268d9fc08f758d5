"""Conditions to predict in contexts of another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import log
from scperturbrl.data.cells.conditions import condition_record, parse_perturbation
from scperturbrl.data.cells.doses import check_dose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup
    from scperturbrl.data.generator.stored import StoredGenerator


def conditions_elsewhere(
    stored: StoredGenerator, cells: Cells, setup: Setup, perturbations: Sequence[str] | str | None, dose: float | None
) -> pd.DataFrame:
    """Condition table of perturbations in every context with control cells.

    Parameters
    ----------
    stored, setup
        Generator, and the setup with which it was fitted.
    cells
        Control cells of the other data set.
    perturbations
        Labels; by default all single perturbations in the training of the generator.
    dose
        Dose of all.

    Raises
    ------
    ValueError
        If a label is empty, or a dose is missing, not above 0, or not supported by the generator.
    """
    wanted = [perturbations] if isinstance(perturbations, str) else perturbations
    labels = list(stored.vocabulary.tokens) if wanted is None else [str(each) for each in wanted]
    own = _dose(stored, setup, dose)
    records = []
    for label in labels:
        parts = parse_perturbation(label, control=setup.control, sep=setup.perturbation_sep)
        if not parts and label != setup.control:
            msg = f"{label!r} in `perturbations` contains no perturbation. Use {setup.control!r} to get control cells."
            raise ValueError(msg)
        at = own if parts else 0.0
        records += [
            condition_record(parts, dose=at, covariates=list(each), setup=setup) for each in cells.table["covariates"]
        ]
    if not records:
        msg = "There is nothing to predict: `perturbations` is empty."
        raise ValueError(msg)
    return pd.DataFrame(records).drop_duplicates("condition").set_index("condition").assign(n_cells=0)


def _dose(stored: StoredGenerator, setup: Setup, dose: float | None) -> float:
    if dose is not None:
        check_dose(dose, setup)
    if setup.dose_key is None:
        return 0.0
    trained = stored.conditions.loc[stored.conditions["n_parts"] > 0, "dose"]
    low, high = float(trained.min()), float(trained.max())
    if dose is None:
        listed = ", ".join(f"{value:g}" for value in sorted(trained.unique()))
        msg = f"The generator was fitted with doses, so `dose` is needed. Measured doses: {listed}."
        raise ValueError(msg)
    if not low <= dose <= high:
        log.warn(
            f"The dose {dose:g} is outside the measured range ({low:g} to {high:g}): the prediction is an "
            "extrapolation."
        )
    return float(dose)
