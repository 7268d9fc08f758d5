"""Warnings about the sequencing depth of conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core import log

if TYPE_CHECKING:
    from scperturbrl.data.cells.depth import Depths

NOTABLE = 1.5
N_NAMED = 3


def report_depths(depths: Depths) -> None:
    """Warn about conditions much deeper or shallower than their controls, and about data without recoverable counts."""
    if not depths.readable:
        log.warn(
            "Counts cannot be recovered from the expression (batch-corrected, imputed or rounded values?), so "
            "sequencing depth is not corrected: conditions that were sequenced more deeply than their controls will "
            "seem to have additional effects."
        )
        return
    table = depths.table
    control = table[table["is_control"]].drop_duplicates("group").set_index("group")["counts"]
    table = table.assign(far=np.abs(np.log(table["ratio"])))
    found = table[table["differs"] & (table["far"] > np.log(NOTABLE))].sort_values("far", ascending=False)
    if found.empty:
        return
    named = "; ".join(
        f"{name} ({control[row.group]:.0f} counts a control cell, {row.counts:.0f} a treated one)"
        for name, row in zip(found.index[:N_NAMED], found[:N_NAMED].itertuples(), strict=True)
    )
    more = "; ..." if len(found) > N_NAMED else ""
    log.warn(
        f"{len(found)} of {int((~table['is_control'] & table['depth'].notna()).sum())} conditions differ from their controls in sequencing depth by more "
        f"than {NOTABLE} times: {named}{more}. For the reference, cells are thinned to one depth in each control group."
    )
