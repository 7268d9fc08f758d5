"""Depth of generated cells relative to their control cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl.data.cells.depth import condition_depths
from scperturbrl.data.latent.cells import control_units

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator

RATIO = "depth_ratio"


def measured_ratios(cells: Cells) -> np.ndarray:
    """Depth of the training cells of each condition over that of its control cells ``(C,)``.

    1 if the difference is not significant, NaN for conditions without training cells.
    """
    depths = condition_depths(cells, cells.is_training()).table
    ratio = np.where(depths["differs"], depths["ratio"], 1.0)
    trained = np.bincount(cells.codes[cells.is_training()], minlength=len(cells.table)) > 0
    return np.where(trained & np.isfinite(ratio), ratio, np.nan)


def depth_ratios(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Depth of cells of each condition of `table` over that of its control cells ``(C,)``.

    A trained condition has its measured ratio. Others get the mean log ratio of the trained conditions with the same
    perturbation, or else of all, shrunk by its standard error: depth is a property of the experiment, not an effect.
    """
    known = stored.conditions
    log_ratio = np.log(known[RATIO].where(known["n_parts"] > 0))
    of_perturbation = log_ratio.groupby(known["perturbation"])
    everywhere = _shrunk_mean(log_ratio.to_numpy())
    found = np.zeros(len(table))
    for row, (name, perturbation) in enumerate(zip(table.index, table["perturbation"], strict=True)):
        if name in log_ratio.index and np.isfinite(log_ratio[name]):
            found[row] = log_ratio[name]
        elif len(table["parts"].iloc[row]):
            same = of_perturbation.get_group(perturbation) if perturbation in of_perturbation.groups else None
            measured = same is not None and bool(np.isfinite(same).any())
            found[row] = _shrunk_mean(same.to_numpy()) if same is not None and measured else everywhere
    return np.exp(found)


def _shrunk_mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    if len(values) < 2 or not values.any():
        return float(values.mean()) / 2 if len(values) else 0.0
    mean = float(values.mean())
    return mean * max(0.0, 1 - float(values.var(ddof=1)) / len(values) / max(mean**2, 1e-12))


def generated_units(
    stored: StoredGenerator,
    cells: Cells,
    table: pd.DataFrame,
    codes: np.ndarray,
    controls: np.ndarray,
    library_size: str | float,
) -> np.ndarray:
    """Normalised value of one count ``(n,)`` in each cell to generate.

    Parameters
    ----------
    stored
        Generator.
    cells
        Cells that contain the `controls`.
    table, codes
        Conditions, and the condition of each cell.
    controls
        ``(n,)`` control cell of each cell.
    library_size
        ``"condition"``, ``"control"``, or counts of a cell.

    Raises
    ------
    ValueError
        If `library_size` is none of these.
    """
    # many cells start from the same control cell
    rows, place = np.unique(controls, return_inverse=True)
    unit = control_units(cells, rows)[place]
    if library_size == "control":
        return unit
    if library_size == "condition":
        return unit / depth_ratios(stored, table)[codes]
    if isinstance(library_size, (str, bool)) or not 1 <= library_size < np.inf:
        msg = f"`library_size` is {library_size!r}; it must be 'condition', 'control' or a number of counts of at least 1."
        raise ValueError(msg)
    level = np.empty(len(rows))
    for part, block in cells.pieces(rows):
        level[part] = np.asarray(np.expm1(block).sum(1)).ravel()
    return np.maximum(level[place], 1e-6) / float(library_size)


def with_ratios(conditions: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    """The stored table of conditions with the measured depth ratio of each."""
    ratios = pd.Series(measured_ratios(cells), index=cells.table.index)
    trained = conditions[keys.SPLIT] == keys.TRAIN
    return conditions.assign(**{RATIO: ratios.reindex(conditions.index).where(trained)})


def in_order_of(unit: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Sort the values `wanted` ``(n,)`` like `unit` ``(n,)``: the largest is at the position of the largest unit.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.data.generator.depth import in_order_of
    >>> in_order_of(np.array([3.0, 1.0, 2.0]), np.array([10.0, 30.0, 20.0])).tolist()
    [30.0, 10.0, 20.0]
    """
    found = np.empty(len(unit))
    found[np.argsort(unit, kind="stable")] = np.sort(wanted)
    return found
