"""A number for every cell, which does not depend on the order of cells or genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl.data.cells.thinning import cell_keys


def distinct_keys(names: pd.Index, matrix: Any, genes: pd.Index, *, chunk: int) -> np.ndarray:
    """Number ``(n_cells,)`` of each cell, from its name, and from its expression too where names repeat."""
    found = cell_keys(names)
    repeated = np.flatnonzero(names.duplicated(keep=False))
    # names of genes and not their places, so that the order of genes does not matter either
    of_gene = cell_keys(genes)
    for start in range(0, len(repeated), chunk):
        part = slice(start, start + chunk)
        rows = sparse.csr_matrix(matrix[repeated[part]], dtype=np.float32)
        rows.eliminate_zeros()
        values = of_gene[rows.indices] * pd.util.hash_array(rows.data.view(np.uint32).astype(np.uint64))
        # sums wrap around, and so do their differences
        running = np.concatenate([[np.uint64(0)], np.cumsum(values)])
        found[repeated[part]] ^= running[rows.indptr[1:]] - running[rows.indptr[:-1]]
    return found
