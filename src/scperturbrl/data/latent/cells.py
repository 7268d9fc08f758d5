"""Training cells as tensors: space, count units, latent cells and their control cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl._core.provenance import weights_hash
from scperturbrl._core.random import numpy_rng
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.counts import count_unit, counts_of
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.cells.row_blocks import RowBlocks
from scperturbrl.flow.control_cells import SparseRows
from scperturbrl.flow.observation.denoise import condition_means
from scperturbrl.flow.training.latent_cells import LatentCells

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.flow.space.base import Space

N_POOL = 32_768


@dataclass(frozen=True)
class Controls:
    """Training control cells in random order, grouped by control group (and batch).

    Attributes
    ----------
    rows
        ``(m,)`` their rows in the AnnData.
    runs
        Start and length of the run of each ``(group, batch)``; batch "" is the whole group.
    """

    rows: np.ndarray
    runs: dict[tuple[str, str], tuple[int, int]]

    @classmethod
    def of(cls, cells: Cells) -> Controls:
        """Collect the training control cells of `cells`, once for all callers."""
        if cls not in cells.once:
            cells.once[cls] = cls._collect(cells)
        found: Controls = cells.once[cls]
        return found

    @classmethod
    def _collect(cls, cells: Cells) -> Controls:
        table = cells.table
        usable = np.flatnonzero(table["is_control"].to_numpy()[cells.codes] & cells.is_training())
        # draws use positions in a run, which so do not depend on the order of rows
        usable = shuffled(cells, usable, 0, "order of control cells")
        group = table["group"].to_numpy()[cells.codes[usable]]
        batch = cells.batch[usable] if cells.batch is not None else np.full(len(usable), "")
        order = np.lexsort((batch, group))
        rows, group, batch = usable[order], group[order], batch[order]
        runs = {}
        for name in np.unique(group):
            inside = np.flatnonzero(group == name)
            runs[str(name), ""] = (int(inside[0]), len(inside))
            for label in np.unique(batch[inside]):
                own = inside[batch[inside] == label]
                runs[str(name), str(label)] = (int(own[0]), len(own))
        return cls(rows, runs)

    def run(self, group: str, batch: str = "") -> tuple[int, int]:
        """Start and length of the run for cells of `group` and, if it has control cells, of `batch`.

        Raises
        ------
        ValueError
            If the group has no control cells.
        """
        if (group, "") not in self.runs:
            options = sorted({name for name, _ in self.runs})
            msg = (
                f"There are no control cells with covariates {group!r}; available: {options}."
                if options
                else "`adata` has no control cells, from which cells are generated. Keep them in every subset."
            )
            raise ValueError(msg)
        return self.runs.get((group, batch), self.runs[group, ""])


def count_blocks(cells: Cells, rows: np.ndarray, unit: np.ndarray, pool: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Function from indices into `rows` to counts ``(b, G)``, made dense block by block.

    The counts of the cells at `pool` (sorted indices into `rows`) are cached if they fit into a quarter of the memory,
    because they are needed repeatedly, and scattered cells are slow to read from a file.
    """
    kept = counts_of(cells.expression[rows[pool]], unit[pool]) if _fits(cells, len(pool)) else None

    def block(index: Tensor) -> Tensor:
        wanted = index.numpy()
        if kept is not None:
            place = np.searchsorted(pool, wanted).clip(max=len(pool) - 1)
            if (pool[place] == wanted).all():
                return torch.as_tensor(dense(kept[place]))
        return torch.as_tensor(dense(counts_of(cells.expression[rows[wanted]], unit[wanted])))

    return block


def _fits(cells: Cells, n: int) -> bool:
    """Whether `n` cells may be cached; those chosen by :func:`minibatch_pool` from a file always fit."""
    if cells.streamed:
        return True
    matrix = cells.expression
    held = 2 * matrix.nnz if sparse.issparse(matrix) else matrix.size
    return 4 * held * n / max(1, matrix.shape[0]) <= cells.memory / 4


def minibatch_pool(cells: Cells, n: int, *, seed: int) -> np.ndarray:
    """Sorted indices of the cells (of `n`) for minibatches: 32,768, or as many as fit into a quarter of the memory."""
    most = N_POOL
    if isinstance(cells.expression, RowBlocks):
        most = min(most, max(512, cells.memory // (4 * cells.expression.row_bytes())))
    return np.sort(numpy_rng(seed, "minibatch pool").permutation(n)[:most]) if n > most else np.arange(n)


def encode_rows(cells: Cells, rows: np.ndarray, space: Space) -> Tensor:
    """Coordinates ``(n, d)`` of the cells at `rows`, made dense chunk by chunk in the order of the file."""
    latent, order = torch.zeros(len(rows), space.dim), np.argsort(rows, kind="stable")
    for part, block in cells.pieces(rows[order]):
        latent[torch.as_tensor(order[part])] = space.encode(torch.as_tensor(dense(block)))
    return latent


def encode_group(cells: Cells, rows: np.ndarray, space: Space) -> Tensor:
    """:func:`encode_rows` for the control cells of a group, once for all of its conditions."""
    state = {name: value.cpu().numpy() for name, value in space.state_dict().items()}
    key = (encode_rows, weights_hash(state), rows.tobytes())
    if key not in cells.once:
        cells.once[key] = encode_rows(cells, rows, space)
    found: Tensor = cells.once[key]
    return found


def sparse_counts(cells: Cells, rows: np.ndarray, unit: np.ndarray) -> SparseRows:
    """Sparse counts of the cells at `rows`, with normalised value `unit` ``(n,)`` of one count."""
    order = np.argsort(rows, kind="stable")
    blocks = [counts_of(sparse.csr_matrix(block), unit[order[part]]) for part, block in cells.pieces(rows[order])]
    counts = sparse.vstack(blocks, format="csr")[np.argsort(order)]
    values, columns, start = (torch.as_tensor(np.array(x)) for x in (counts.data, counts.indices, counts.indptr))
    return SparseRows(values, columns.long(), start.long(), len(cells.genes))


def latent_cells(
    cells: Cells, label: str, space: Space, factor: Tensor, controls: Controls, *, shift: Tensor | None = None
) -> LatentCells | None:
    """Denoised cells of one part of the split in the flow's space, with their control runs; None if there are none.

    `shift` ``(C, d)`` is added to the cells of each condition of the table. A condition is drawn with probability proportional to
    the square root of its number of cells.
    """
    is_control = cells.table["is_control"].to_numpy()[cells.codes]
    rows = np.flatnonzero((cells.split == label) & ((label == keys.TRAIN) | ~is_control))
    if not len(rows):
        return None
    rows = shuffled(cells, rows, 0, "order of cells in minibatches")
    codes = cells.codes[rows]
    latent = _denoised(cells, rows, space, factor)
    if shift is not None:
        latent = latent + shift[torch.as_tensor(codes)]
    groups = cells.table["group"].to_numpy()[codes]
    batches = cells.batch[rows] if cells.batch is not None else np.full(len(rows), "")
    found = {pair: controls.run(*pair) for pair in set(zip(groups.tolist(), batches.tolist(), strict=True))}
    runs = np.array([found[pair] for pair in zip(groups.tolist(), batches.tolist(), strict=True)])
    weight = 1 / np.sqrt(np.bincount(codes)[codes])
    return LatentCells(
        latent=latent,
        codes=torch.as_tensor(codes),
        control=encode_rows(cells, controls.rows, space),
        control_start=torch.as_tensor(runs[:, 0]),
        control_count=torch.as_tensor(runs[:, 1]),
        weight=torch.as_tensor(weight, dtype=torch.float32),
    )


def _denoised(cells: Cells, rows: np.ndarray, space: Space, factor: Tensor) -> Tensor:
    latent, codes = encode_rows(cells, rows, space), torch.as_tensor(cells.codes[rows])
    centre = condition_means(latent, codes)[codes]
    return centre + factor * (latent - centre)


def control_units(cells: Cells, rows: np.ndarray) -> np.ndarray:
    """Value of one count in each cell at `rows`; the median of the others if it cannot be inferred.

    Raises
    ------
    ValueError
        If it cannot be inferred for most of them, because the data are not log-normalised counts.
    """
    unit, order = np.empty(len(rows)), np.argsort(rows, kind="stable")
    for part, block in cells.pieces(rows[order]):
        unit[order[part]] = count_unit(block)
    missing = np.isnan(unit)
    if missing.mean() > 0.5:
        msg = (
            "The expression is not log1p of normalised counts: in most cells no count unit fits the values (batch-corrected, "
            "imputed or rounded data, bulk wells, arrays?). The generator draws counts of single cells and cannot learn from other values. "
            "Set `layer` of `pp.setup_anndata` to a layer computed from counts by `sc.pp.normalize_total` and `sc.pp.log1p`."
        )
        raise ValueError(msg)
    unit[missing] = np.median(unit[~missing])
    return unit


def common_total(cells: Cells, rows: np.ndarray) -> float:
    """The common total of the normalised values of every cell at `rows`; 0 if totals differ."""
    parts = [np.expm1(dense(block)).sum(1, dtype=np.float64) for _, block in cells.pieces(rows)]
    total = np.concatenate(parts)
    return float(total.mean()) if total.std() < 1e-3 * total.mean() else 0.0
