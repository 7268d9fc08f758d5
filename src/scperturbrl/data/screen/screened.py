"""The candidates of a stored screen as a condition table again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl.data.cells.conditions import parse_perturbation

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup


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
