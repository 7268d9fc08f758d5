"""Sequencing depth of generated or predicted cells that are compared with measured ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl.data.cells.cell_keys import cell_keys
from scperturbrl.data.cells.depth import MEDIAN_ERROR, SAME, is_common, read_units, some_rows
from scperturbrl.data.cells.thinning import Thinning

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class OtherCells:
    """Cells with the condition and the depth of each.

    Attributes
    ----------
    matrix
        ``(n, G)`` log-normalised: CSR, dense, or rows in a file.
    names, labels
        ``(n,)`` name and condition of each cell.
    depth
        Median depth (one over the normalised value of a count) of each condition, and its standard error on the log scale.
        Only conditions with recoverable counts are included.
    common_total
        Whether the normalised values of every cell add up to one total.
    chunk
        Number of cells that may be processed together.
    """

    matrix: Any
    names: np.ndarray
    labels: np.ndarray
    depth: pd.DataFrame
    common_total: bool
    chunk: int

    @classmethod
    def read(cls, matrix: Any, names: Any, labels: np.ndarray, *, conditions: set[str], chunk: int) -> OtherCells:
        """Compute the depths of `conditions` from up to 500 cells of each."""
        wanted = pd.Index(sorted(conditions & set(labels)), dtype=object)
        names, labels = np.asarray(names, dtype=object), np.asarray(labels, dtype=object)
        place = np.flatnonzero(np.isin(labels, wanted))
        codes = wanted.get_indexer(labels[place])
        some = some_rows(codes, len(wanted), cell_keys(names[place])) if len(place) else place
        unit, total = read_units(matrix, place[some], chunk=chunk)
        found = {}
        for code, label in enumerate(wanted):
            own = -np.log(unit[codes[some] == code])
            known = own[np.isfinite(own)]
            if 2 * len(known) > len(own):
                spread = known.std(ddof=1) if len(known) > 1 else np.inf
                found[label] = (float(np.exp(np.median(known))), float(MEDIAN_ERROR * spread / np.sqrt(len(known))))
        depth = pd.DataFrame.from_dict(found, orient="index", columns=["depth", "error"], dtype=float)
        return cls(matrix, names, labels, depth, is_common(total), chunk)

    def ratio(self, condition: str, depth: float) -> float:
        """Depth of `condition` over `depth`; 1 if they differ by less than a tenth or not significantly, or are unknown."""
        if condition not in self.depth.index or not np.isfinite(depth):
            return 1.0
        own, error = self.depth.loc[condition]
        return float(own / depth) if abs(np.log(own / depth)) > max(np.log(SAME), 3 * error) else 1.0

    def at_most(self, wanted: Mapping[str, float]) -> tuple[Any, np.ndarray]:
        """Thin the cells of conditions that are deeper than in `wanted`; also return the names of these conditions."""
        ratio = {condition: self.ratio(condition, depth) for condition, depth in wanted.items()}
        deeper = np.array([condition for condition, found in ratio.items() if found > 1], dtype=str)
        if not len(deeper):
            return self.matrix, deeper
        share, unit = np.ones(len(self.labels)), np.ones(len(self.labels))
        for condition in deeper:
            rows = self.labels == condition
            share[rows], unit[rows] = 1 / ratio[condition], 1 / self.depth.loc[condition, "depth"]
        thinning = Thinning(share, unit, cell_keys(self.names), self.common_total)
        return thinning.matrix(self.matrix, chunk=self.chunk), deeper
