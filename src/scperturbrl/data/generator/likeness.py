"""Check that control cells still resemble those to which a generator was fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator

_LOOKED_AT = 500
LEAST_CORRELATION, MOST_SCALE = 0.5, 3.0


def warn_unlike(generators: Mapping[str, StoredGenerator], cells: Cells) -> None:
    """Warn if the control cells differ from the training cells of generators in mean profile or scale."""
    rows = np.flatnonzero(cells.table["is_control"].to_numpy(dtype=bool)[cells.codes])
    if not len(rows) or not generators:
        return
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, _LOOKED_AT).astype(int))]
    new = np.asarray(cells.expression[rows].mean(0), dtype=float).ravel()
    for key, stored in generators.items():
        correlation, scale = _likeness(stored.generator.space.mean.detach().cpu().numpy().astype(float), new)
        if correlation < LEAST_CORRELATION or not 1 / MOST_SCALE < scale < MOST_SCALE:
            log.warn(
                f"The control cells differ from those to which the generator {key!r} was fitted: the correlation of "
                f"mean profiles is {correlation:.2f}, and "
                f"rates are {scale:.3g} times as high. Were they normalised to another total, or genes reordered? Then "
                "its predictions are unreliable; fit it again."
            )


def _likeness(old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Correlation of two mean profiles, and ratio of the rates of well-expressed genes (second over first)."""
    if len(old) != len(new) or old.std() == 0 or new.std() == 0:
        return 1.0, 1.0
    high = old >= np.quantile(old, 0.75)
    ratio = np.expm1(new[high]) / np.maximum(np.expm1(old[high]), 1e-12)
    return float(np.corrcoef(old, new)[0, 1]), float(np.median(ratio))
