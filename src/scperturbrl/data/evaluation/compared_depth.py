"""The depth at which all cells of an evaluation are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import log
from scperturbrl.data.cells.depth import SAME, condition_depths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.depth import Depths
    from scperturbrl.data.cells.other_depth import OtherCells


def compared_depths(cells: Cells, others: Mapping[str, OtherCells], conditions: Sequence[str]) -> Depths | None:
    """Depths of the measured cells, reduced in control groups in which the cells of a model are shallower.

    A table compares models with each other and with baselines, so each control group has one depth in it: the smallest of
    the measured conditions, the controls and the models, but at least a quarter of the controls'. None if counts
    cannot be recovered from the measured cells.
    """
    depths = condition_depths(cells)
    if not depths.readable:
        log.warn(
            "Counts cannot be recovered from the expression (batch-corrected, imputed or rounded values?), so cells "
            "are compared without thinning, as with `depth='raw'`."
        )
        return None
    group = {condition: str(cells.table.loc[condition, "group"]) for condition in conditions}
    at_most: dict[str, float] = {}
    for name, other in others.items():
        ratio = {one: other.ratio(one, depths.target_of(one, group[one])) for one in conditions}
        shallow = [one for one in conditions if ratio[one] < 1 / SAME]
        for one in shallow:
            own = float(other.depth.loc[one, "depth"])
            at_most[group[one]] = min(own, at_most.get(group[one], own))
        if shallow:
            least = min(shallow, key=lambda one: ratio[one])
            log.warn(
                f"{name!r} has {ratio[least]:.2f} times the counts per cell that measured cells of {least!r} have"
                f"{f' (and fewer in {len(shallow) - 1} more conditions)' if len(shallow) > 1 else ''}. All models and the measured "
                "cells are thinned to the smallest depth, but not below a quarter of the controls'; `depth='raw'` "
                "switches thinning off."
            )
    without = [name for name, other in others.items() if not len(other.depth)]
    if without:
        log.note(f"counts cannot be recovered from the cells of {without}, which are compared without thinning")
    return depths.lowered(at_most)
