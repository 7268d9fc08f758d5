"""The depth at which cells are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scperturbrl._core import log
from scperturbrl.data.cells.depth import SAME, at_depths, condition_depths

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
    groups = {condition: str(cells.table.loc[condition, "group"]) for condition in conditions}
    for name, other in others.items():
        shallow = _shallow(other, depths, groups)
        if shallow:
            least = min(shallow, key=lambda one: shallow[one])
            log.warn(
                f"{name!r} has {shallow[least]:.2f} times the counts per cell that measured cells of {least!r} have"
                f"{f' (and fewer in {len(shallow) - 1} more conditions)' if len(shallow) > 1 else ''}. All models and the measured "
                "cells are thinned to the smallest depth, but not below a quarter of the controls'; `depth='raw'` "
                "switches thinning off."
            )
    without = [name for name, other in others.items() if not len(other.depth)]
    if without:
        log.note(f"counts cannot be recovered from the cells of {without}, which are compared without thinning")
    return _lowered(depths, others, groups)


def at_one_depth(
    cells: Cells, others: Mapping[str, OtherCells], groups: Mapping[str, str]
) -> tuple[Cells, dict[str, Any]]:
    """Measured cells, and the matrices of `others`, with one depth in each control group.

    Nothing is thinned if counts cannot be recovered from the measured cells.

    Parameters
    ----------
    cells
        Measured cells.
    others
        Cells of models by name.
    groups
        Control group of each condition of `others`.
    """
    depths = condition_depths(cells)
    if not depths.readable:
        return cells, {name: other.matrix for name, other in others.items()}
    depths = _lowered(depths, others, groups)
    return at_depths(cells, depths), thinned(others, depths, groups)


def thinned(others: Mapping[str, OtherCells], depths: Depths, groups: Mapping[str, str]) -> dict[str, Any]:
    """Matrices of `others`, thinned where they are deeper than the measured cells are at `depths`."""
    return {
        name: other.at_most({one: depths.target_of(one, groups[one]) for one in other.depth.index})[0]
        for name, other in others.items()
    }


def _lowered(depths: Depths, others: Mapping[str, OtherCells], groups: Mapping[str, str]) -> Depths:
    at_most: dict[str, float] = {}
    for other in others.values():
        for one in _shallow(other, depths, groups):
            own = float(other.depth.loc[one, "depth"])
            at_most[groups[one]] = min(own, at_most.get(groups[one], own))
    return depths.lowered(at_most)


def _shallow(other: OtherCells, depths: Depths, groups: Mapping[str, str]) -> dict[str, float]:
    """Conditions in which `other` has clearly fewer counts than `depths`, with the ratio of the two."""
    ratio = {one: other.ratio(one, depths.target_of(one, group)) for one, group in groups.items()}
    return {one: found for one, found in ratio.items() if found < 1 / SAME}
