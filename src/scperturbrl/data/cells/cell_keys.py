"""A key for every cell that does not depend on the order of cells or genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse


def cell_keys(names: Any) -> np.ndarray:
    """Key ``(n,)`` of each name; the same name always has the same key."""
    return np.asarray(pd.util.hash_array(np.asarray(names, dtype=object), categorize=False), dtype=np.uint64)


def distinct_keys(names: pd.Index, matrix: Any, genes: pd.Index, *, chunk: int) -> np.ndarray:
    """Key ``(n_cells,)`` of each cell, from its name, and also from its expression if names repeat."""
    found = cell_keys(names)
    repeated = np.flatnonzero(names.duplicated(keep=False))
    for start in range(0, len(repeated), chunk):
        part = slice(start, start + chunk)
        found[repeated[part]] ^= content_keys(matrix[repeated[part]], genes)
    return found


def content_keys(rows: Any, genes: pd.Index) -> np.ndarray:
    """Key of each of the cells `rows` ``(n, G)``, from its expression in single precision."""
    # gene names and not positions, so that the order of genes does not matter
    of_gene = cell_keys(genes)
    found = sparse.csr_matrix(rows, dtype=np.float32)
    found.eliminate_zeros()
    values = of_gene[found.indices] * pd.util.hash_array(found.data.view(np.uint32).astype(np.uint64))
    # integer overflow is intended, also in differences
    running = np.concatenate([[np.uint64(0)], np.cumsum(values)])
    return np.asarray(running[found.indptr[1:]] - running[found.indptr[:-1]])
