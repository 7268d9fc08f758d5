"""A compact fingerprint of the cells of a result, compared in later calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl.data.cells.cell_keys import content_keys, distinct_keys
from scperturbrl.data.cells.row_blocks import is_out_of_core, row_matrix
from scperturbrl.data.cells.setup import expression

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

# number of cells whose expression is hashed, and of those compared later
_KEPT, _COMPARED = 4096, 256
_MOST, _FEWEST, _AT_ONCE = 64, 2, 512


@dataclass(frozen=True)
class Fingerprint:
    """Names and labels of cells, and hashes of the expression of some cells of each label.

    It does not depend on the order of cells and genes, and a subset of the cells can be compared with it.

    Attributes
    ----------
    keys
        ``(n,)`` ascending keys of the cells, from their names.
    codes
        ``(n,)`` index in `labels`.
    content
        ``(n,)`` hash of the expression in single precision, 0 if it was not computed.
    labels
        ``(L,)`` names.
    """

    keys: np.ndarray
    codes: np.ndarray
    content: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(
        cls, adata: AnnData, layer: str | None, labels: np.ndarray, codes: np.ndarray, use: np.ndarray
    ) -> Fingerprint:
        """Build it for the cells `use` ``(m,)`` of `adata`; cell i has the label ``labels[codes[i]]``."""
        own = cell_numbers(adata, layer)[use]
        order = np.argsort(own)
        use, own = use[order], own[order]
        content = np.zeros(len(use), dtype=np.uint64)
        some = _first_of_each(codes[use], _share(_KEPT, len(np.unique(codes[use]))))
        content[some] = _contents(adata, layer, use[some])
        return cls(own, codes[use].astype(np.int32), content, np.asarray(labels, dtype=str))

    def to_uns(self) -> dict[str, Any]:
        """Return values that AnnData can write."""
        return {"keys": self.keys, "codes": self.codes, "content": self.content, "labels": self.labels}

    @classmethod
    def from_uns(cls, record: Mapping[str, Any]) -> Fingerprint:
        """Read what :meth:`to_uns` wrote."""
        labels = np.array([str(name) for name in record["labels"]], dtype=str)
        return cls(np.asarray(record["keys"]), np.asarray(record["codes"]), np.asarray(record["content"]), labels)

    def relabelled(self, numbers: np.ndarray, labels: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """``(r,)`` those of the cells with `numbers` ``(n,)`` whose label was not ``labels[codes]``."""
        place, known = self._places(numbers)
        of = {name: row for row, name in enumerate(self.labels.tolist())}
        now = np.array([of.get(str(name), -1) for name in labels], dtype=int)
        return np.flatnonzero(known & (self.codes[place] != now[codes]))

    def unknown(self, numbers: np.ndarray, use: np.ndarray) -> np.ndarray:
        """Those of the cells `use` that are not in the fingerprint."""
        return use[~self._places(numbers[use])[1]]

    def rewritten(self, adata: AnnData, layer: str | None, numbers: np.ndarray) -> tuple[np.ndarray, int]:
        """Cells whose expression has changed, and number of compared cells."""
        place, known = self._places(numbers)
        found = np.flatnonzero(known & (self.content[place] != 0))
        found = found[np.argsort(numbers[found])]
        codes = self.codes[place[found]]
        # cells in a file are read one by one
        total = _COMPARED // (4 if is_out_of_core(expression(adata, layer)) else 1)
        found = found[_first_of_each(codes, _share(total, len(np.unique(codes))))]
        return found[_contents(adata, layer, found) != self.content[place[found]]], len(found)

    def label_of(self, number: Any) -> str:
        """Label that a cell had."""
        return str(self.labels[self.codes[np.searchsorted(self.keys, number)]])

    def _places(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = np.minimum(np.searchsorted(self.keys, numbers), len(self.keys) - 1)
        return place, self.keys[place] == numbers


def cell_numbers(adata: AnnData, layer: str | None) -> np.ndarray:
    """Key of each cell, from its name, and also from its expression if names repeat."""
    matrix = None if adata.obs_names.is_unique else _rows_of(adata, layer)
    return distinct_keys(adata.obs_names, matrix, adata.var_names, chunk=_AT_ONCE)


def _share(total: int, n_labels: int) -> int:
    return int(np.clip(total // max(n_labels, 1), _FEWEST, _MOST))


def _first_of_each(codes: np.ndarray, most: int) -> np.ndarray:
    """Indices of the first `most` cells of each code."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    rank = np.arange(len(codes)) - np.searchsorted(ordered, ordered)
    return np.sort(order[rank < most])


def _rows_of(adata: AnnData, layer: str | None) -> Any:
    # a matrix in memory is not converted, which would take longer than the comparison
    matrix = expression(adata, layer)
    return row_matrix(adata, matrix, longest=_AT_ONCE) if is_out_of_core(matrix) else matrix


def _contents(adata: AnnData, layer: str | None, rows: np.ndarray) -> np.ndarray:
    """Hash ``(m,)`` of the expression of the cells `rows`, never 0."""
    order = np.argsort(rows)
    matrix, found = _rows_of(adata, layer), np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        found[part] = content_keys(matrix[rows[part]], adata.var_names)
    return found | np.uint64(1)
