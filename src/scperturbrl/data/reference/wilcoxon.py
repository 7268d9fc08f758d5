"""Rank-sum statistics through scanpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells


def wilcoxon_statistic(cells: Cells, use: np.ndarray, conditions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Wilcoxon z score and false discovery rate ``(C, G)`` of each condition against its control group.

    Computed by :func:`scanpy.tl.rank_genes_groups` once for every control group.
    """
    import anndata
    import pandas as pd
    import scanpy as sc

    rows = cells.rows(conditions)
    controls = np.array([cells.control_row(row) for row in rows])
    statistic = np.zeros((len(rows), len(cells.genes)), dtype=np.float32)
    padj = np.ones_like(statistic)
    for control in np.unique(controls):
        members = [row for row, own in zip(rows, controls, strict=True) if own == control]
        chosen = np.flatnonzero(use & np.isin(cells.codes, [*members, control]))
        labels = pd.Categorical(cells.table.index[cells.codes[chosen]])
        part = anndata.AnnData(cells.whole("`method='wilcoxon'`")[chosen], var=pd.DataFrame(index=cells.genes))
        part.obs["condition"] = labels
        sc.tl.rank_genes_groups(
            part,
            "condition",
            groups=[cells.table.index[row] for row in members],
            reference=cells.table.index[control],
            method="wilcoxon",
            tie_correct=True,
        )
        for row in members:
            frame = sc.get.rank_genes_groups_df(part, group=cells.table.index[row]).set_index("names")
            frame = frame.reindex(cells.genes)
            statistic[rows.index(row)] = frame["scores"].fillna(0)
            padj[rows.index(row)] = frame["pvals_adj"].fillna(1)
    return statistic, padj
