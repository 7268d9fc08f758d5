"""The conditions that are evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys, log
from scperturbrl._core.provenance import counted
from scperturbrl.data.cells.conditions import find_conditions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup


def evaluated_conditions(
    cells: Cells, setup: Setup, conditions: Sequence[str] | str | None, *, min_cells: int = 6
) -> list[str]:
    """Names of the `conditions`; by default the test conditions with enough cells.

    Raises
    ------
    KeyError
        If there is no such condition.
    ValueError
        If no test condition has enough cells, a name stands for control cells, or there are no perturbed training cells.
    """
    if not cells.conditions(keys.TRAIN):
        msg = "`adata` has no perturbed training cells, which baselines and scaled scores need. Evaluate with all training cells."
        raise ValueError(msg)
    if conditions is not None:
        return find_conditions(conditions, cells.table, setup)
    found = cells.conditions(keys.TEST, min_cells=min_cells)
    if not found:
        msg = f"No test condition has {min_cells} cells. Hold some out with `pp.split`, or name `conditions`."
        raise ValueError(msg)
    small = sorted(set(cells.conditions(keys.TEST)) - set(found))
    if small:
        log.tell(
            f"{len(small)} test conditions with fewer than {min_cells} cells are not evaluated ({counted(small)}). Name them in `conditions` to include them."
        )
    return found
