"""Sequencing depth of conditions, and thinning of the cells of a control group to one depth.

A log-normalised mean depends on the number of counts. So conditions that were sequenced more deeply than their controls
seem to have additional effects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.stats import norm

from scperturbrl.data.cells.cell_keys import cell_keys
from scperturbrl.data.cells.counts import count_unit
from scperturbrl.data.cells.grouping import rows_of
from scperturbrl.data.cells.thinning import Thinning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scperturbrl.data.cells.cells import Cells

N_READ = 500
SAME = 1.1
"""Ratio of depths below which conditions count as equally deep."""

SHALLOWEST = 0.1
"""Share of the conditions of a group that may be shallower than the target, so that one of many does not thin the others."""

FLOOR = 0.25
"""Share of the controls' depth that is always kept."""

CHANCE = 0.00135
"""One-sided p-value of a difference of three standard errors."""

MEDIAN_ERROR = 1.2533
"""Ratio of the standard errors of median and mean of a normal distribution."""

_COMMON = 1e-3


@dataclass(frozen=True)
class Depths:
    """Depth of every condition, and factor by which its cells are thinned.

    Attributes
    ----------
    table
        One row per condition: ``group``; ``counts`` (median counts of a cell); ``depth`` (median of one over the
        normalised value of a count); ``ratio`` of this to the controls'; ``differs``, whether the ratio differs from 1
        by more than chance and more than a tenth; ``factor``, the share of counts that is kept. NaN and 1 if counts
        cannot be recovered.
    common_total
        Whether the normalised values of every cell add up to one total.
    readable
        Whether counts can be recovered from the data.
    """

    table: pd.DataFrame
    common_total: bool
    readable: bool

    @property
    def equal(self) -> bool:
        """Whether nothing is thinned."""
        return bool((self.table["factor"] == 1).all())

    def target(self, group: str) -> float:
        """Depth to which the controls of `group` are thinned; NaN if there are none."""
        own = self.table[self.table["is_control"] & (self.table["group"] == group)]
        return float((own["depth"] * own["factor"]).min()) if len(own) else np.nan

    def thinned(self) -> np.ndarray:
        """Names of the conditions that are thinned."""
        return self.table.index[self.table["factor"] < 1].to_numpy(dtype=str)

    def target_of(self, condition: str, group: str) -> float:
        """Depth to which cells of `condition` are thinned; that of its group if there are none; NaN if unknown."""
        if condition in self.table.index and np.isfinite(self.table.loc[condition, "depth"]):
            return float(self.table.loc[condition, "depth"] * self.table.loc[condition, "factor"])
        return self.target(group)

    def lowered(self, at_most: Mapping[str, float]) -> Depths:
        """Return the same with the depth of each group in `at_most` limited to its value there."""
        factor = self.table["factor"].to_numpy(copy=True)
        for group, most in at_most.items():
            inside = (self.table["group"] == group).to_numpy()
            control = float(self.table.loc[inside & self.table["is_control"].to_numpy(), "depth"].min())
            target = max(min(self.target(group), most), FLOOR * control)
            level = self.table["depth"].where(self.table["differs"], control).to_numpy()[inside]
            factor[inside] = np.where(np.isnan(level), 1.0, np.minimum(1.0, target / level))
        return replace(self, table=self.table.assign(factor=factor))

    def completed(self, cells: Cells) -> Depths:
        """Return the same with the remaining conditions of `cells`, thinned to the target of their group."""
        table = self.table.reindex(self.table.index.union(cells.table.index, sort=False))
        new = table["depth"].isna() & table.index.isin(cells.table.index)
        if not self.readable or not new.any():
            return self
        found = condition_depths(cells).table.loc[table.index[new]]
        table.loc[new] = found.assign(factor=1.0)
        control = found["depth"] / found["ratio"]
        target = np.array([self.target(group) for group in found["group"]])
        level = found["depth"].where(found["differs"], control)
        table.loc[new, "factor"] = np.minimum(1.0, target / level).fillna(1.0)
        return replace(self, table=table.astype(self.table.dtypes))

    def to_uns(self) -> dict[str, Any]:
        """Return values that AnnData can write."""
        return {"table": self.table, "common_total": self.common_total, "readable": self.readable}

    @classmethod
    def from_uns(cls, record: Mapping[str, Any]) -> Depths:
        """Read what :meth:`to_uns` wrote."""
        return cls(record["table"], bool(record["common_total"]), bool(record["readable"]))


def condition_depths(cells: Cells, use: np.ndarray | None = None) -> Depths:
    """Depths of all conditions, with one target for each control group.

    The target is the depth that nine tenths of the conditions and the controls reach (the smallest depth if there are
    fewer than eleven), but at least a quarter of the controls'. Conditions whose depth differs from the controls' by
    less than a tenth, or by less than three standard errors (more if there are many conditions), count as equally deep.

    Parameters
    ----------
    cells
        Expression and conditions. At most 500 cells of each are read.
    use
        ``(n_cells,)`` cells to use; all by default. Conditions without any are not thinned; :meth:`Depths.completed`
        adds them with the same targets.
    """
    chosen = some_rows(cells.codes, len(cells.table), cell_keys(cells.names), use)
    unit, total = read_units(cells.expression, chosen, chunk=cells.chunk)
    readable = len(unit) > 0 and bool(np.isnan(unit).mean() <= 0.5)
    codes, log_depth = cells.codes[chosen], -np.log(unit)
    columns = {name: np.full(len(cells.table), np.nan) for name in ("counts", "depth", "ratio")}
    differs, factor, residual = np.zeros(len(cells.table), dtype=bool), np.ones(len(cells.table)), np.empty(len(unit))
    known = [rows[np.isfinite(unit[rows])] for rows in rows_of(codes, len(cells.table))]
    if readable:
        for row, found in enumerate(known):
            if len(found):
                median = np.median(log_depth[found])
                columns["depth"][row], residual[found] = np.exp(median), log_depth[found] - median
                columns["counts"][row] = np.median(total[found] / unit[found])
        for group in cells.table["group"].unique():
            rows = np.flatnonzero(cells.table["group"] == group)
            found = _compare(cells, rows, columns["depth"], known, residual)
            columns["ratio"][rows], differs[rows], factor[rows] = found
    table = cells.table[["group", "is_control"]].assign(**columns, differs=differs, factor=factor)
    return Depths(table, is_common(total), readable)


def _compare(
    cells: Cells,
    rows: np.ndarray,
    depth: np.ndarray,
    known: Sequence[np.ndarray],
    residual: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio to the controls, whether it differs from 1, and share of counts to keep, of the conditions at `rows`."""
    controls = [row for row in rows if cells.table["is_control"].iloc[row] and np.isfinite(depth[row])]
    if not controls:
        return np.full(len(rows), np.nan), np.zeros(len(rows), dtype=bool), np.ones(len(rows))
    control = controls[0]
    n = np.array([len(known[row]) for row in rows])
    # of single cells around the median of their condition, pooled, because a single condition may have few cells
    own, freedom = residual[np.concatenate([known[row] for row in rows])], n.sum() - (n > 0).sum()
    spread = np.sqrt(np.square(own).sum() / freedom) if freedom else np.inf
    error = np.full(len(rows), np.inf)
    error[n > 0] = MEDIAN_ERROR * spread * np.sqrt(1 / n[n > 0] + 1 / len(known[control]))
    ratio = depth[rows] / depth[control]
    # three standard errors for one condition; more for many, because some exceed three by chance
    far = np.maximum(np.log(SAME), norm.isf(CHANCE / max(len(rows) - 1, 1)) * error)
    differs = np.abs(np.log(ratio)) > far
    level = np.where(differs, depth[rows], depth[control])
    known_depth = np.isfinite(ratio)
    shallow = np.quantile(level[known_depth], SHALLOWEST, method="lower")
    target = max(min(shallow, depth[control]), FLOOR * depth[control])
    factor = np.where(known_depth, np.minimum(1.0, target / level), 1.0)
    return ratio, differs, factor


def at_depths(cells: Cells, depths: Depths) -> Cells:
    """Thin the cells of every condition by its factor; return the same object if nothing is thinned."""
    known = depths.table.reindex(cells.table.index)
    factor = known["factor"].fillna(1.0).to_numpy()
    share = factor[cells.codes]
    if (share == 1).all():
        return cells
    unit = 1 / known["depth"].to_numpy()[cells.codes]
    thinning = Thinning(share, unit, cell_keys(cells.names), depths.common_total)
    return replace(cells, expression=thinning.matrix(cells.expression, chunk=cells.chunk))


def equal_depth(cells: Cells, use: np.ndarray | None = None) -> Cells:
    """Bring all conditions of a control group to one depth; see :func:`condition_depths`."""
    return at_depths(cells, condition_depths(cells, use))


def read_units(matrix: Any, index: np.ndarray, *, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Value of one count (NaN if unknown) and sum of the normalised values, ``(n,)``, at ascending rows."""
    unit, total = np.full(len(index), np.nan), np.zeros(len(index))
    for start in range(0, len(index), chunk):
        part = slice(start, start + chunk)
        rows = sparse.csr_matrix(matrix[index[part]])
        unit[part] = count_unit(rows)
        rows.data = np.expm1(rows.data, dtype=np.float64)
        total[part] = np.asarray(rows.sum(1)).ravel()
    return unit, total


def some_rows(codes: np.ndarray, n: int, keys: np.ndarray, use: np.ndarray | None = None) -> np.ndarray:
    """Ascending rows of up to 500 cells of each of `n` codes, from those in `use` if it is given.

    They are chosen by their `keys`, so that the order of the cells does not matter.
    """
    chosen = [rows[np.argsort(keys[rows], kind="stable")[:N_READ]] for rows in rows_of(codes, n, use)]
    return np.sort(np.concatenate(chosen))


def is_common(total: np.ndarray) -> bool:
    """Whether the sums ``(n,)`` of the values of cells are all equal; empty cells are ignored."""
    total = total[total > 0]
    return len(total) > 0 and bool(total.std() < _COMMON * total.mean())
