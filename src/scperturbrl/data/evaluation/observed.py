"""Effects of the measured cells of all conditions, with which predictions are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.data.reference.statistics import fit_reference

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.reference.statistics import ReferenceTable

# With fewer conditions in a context, ranks among them are meaningless.
_MIN_RANKED = 3


@dataclass
class Observed:
    """Effects of all measured conditions, including held-out ones. For evaluation only: nothing may be fitted to it.

    Attributes
    ----------
    cells
        Expression and conditions.
    """

    cells: Cells

    @cached_property
    def names(self) -> list[str]:
        """Perturbed conditions with at least two cells."""
        table = self.cells.table
        count = np.bincount(self.cells.codes, minlength=len(table))
        return list(table.index[~table["is_control"].to_numpy() & (count > 1)])

    @cached_property
    def table(self) -> ReferenceTable:
        """Effects and statistics of :attr:`names`."""
        empty = np.zeros((len(self.cells.genes), 0), dtype=np.float32)
        everything = np.ones(len(self.cells.codes), dtype=bool)
        return fit_reference(self.cells, everything, conditions=self.names, network=empty)

    def statistic(self, condition: str) -> np.ndarray | None:
        """Welch's t ``(G,)`` against all control cells; None for a condition of fewer than two cells."""
        if condition not in self.names:
            return None
        return self.table.statistic[self.names.index(condition)].astype(np.float64)

    def parts(self, condition: str) -> np.ndarray | None:
        """Effects ``(P, G)`` of the parts of a combination alone in its context; None if one was not measured."""
        row = self.cells.table.loc[condition]
        if len(row["parts"]) < 2:
            return None
        alone = self.cells.table.loc[self.names]
        alone = alone[(alone["group"] == row["group"]) & (alone["parts"].map(len) == 1)]
        found = []
        for part in row["parts"]:
            same = alone[[parts[0] == part for parts in alone["parts"]]]
            if same.empty:
                return None
            nearest = (same["dose"] - row["dose"]).abs().idxmin()
            found.append(self.table.mean_effect[self.names.index(nearest)])
        return np.stack(found).astype(np.float64)

    def rivals(self, condition: str) -> list[int]:
        """Rows of :attr:`names` with which `condition` is compared in discrimination scores, including itself.

        These are the conditions of its own context, because otherwise separating contexts would be rewarded. If the
        context has fewer than three, these are all conditions.
        """
        group = self.cells.table.loc[self.names, "group"].to_numpy()
        same = np.flatnonzero(group == self.cells.table.loc[condition, "group"])
        return list(same) if len(same) >= _MIN_RANKED else list(range(len(self.names)))
