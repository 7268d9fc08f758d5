"""Short hashes of data, to detect that a resumed run has other data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scperturbrl._core.provenance import array_hash
from scperturbrl._core.validate import name_hash
from scperturbrl.data.cells.cells import dense

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scperturbrl.data.cells.cells import Cells


def cells_identity(cells: Cells) -> dict[str, str]:
    """Identity of the cells of a run: hashes of genes, conditions with the split, and expression."""
    batch = [] if cells.batch is None else cells.batch.tolist()
    labels = [*cells.table.index[cells.codes], *cells.split, *batch]
    return {
        "genes": name_hash(cells.genes),
        "conditions and split": name_hash(labels),
        "expression": _matrix_hash(cells),
    }


def _matrix_hash(cells: Cells) -> str:
    if cells.streamed:
        # hash the values one after another, so that the block size does not matter
        total = hashlib.blake2b(digest_size=8)
        for _, block in cells.pieces(np.arange(len(cells.codes))):
            total.update(dense(block).tobytes())
        return total.hexdigest()
    matrix = cells.expression
    parts: Iterable[Any] = (matrix.data, matrix.indices, matrix.indptr) if sparse.issparse(matrix) else (matrix,)
    return array_hash(*parts)
