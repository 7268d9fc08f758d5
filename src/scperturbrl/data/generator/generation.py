"""Which control cells go in, which conditions come out: the bridge to :meth:`Generator.generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy import sparse

from scperturbrl._core.random import numpy_rng
from scperturbrl._core.threads import one_thread
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.generator.depth import generated_units
from scperturbrl.data.generator.linear import recentred
from scperturbrl.data.latent.cells import Controls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from torch import Tensor

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator


def draw_controls(cells: Cells, groups: Sequence[str], batches: Sequence[str] | None, *, seed: int) -> np.ndarray:
    """Rows of control cells, one for each wanted cell, drawn within its group (and batch) without needless repeats."""
    controls = Controls.of(cells)
    labels = list(zip(groups, batches if batches is not None else [""] * len(groups), strict=True))
    chosen = np.empty(len(labels), dtype=int)
    # sorted, so that the order of rows does not matter
    unique = sorted(set(labels))
    place = {pair: number for number, pair in enumerate(unique)}
    codes = np.array([place[pair] for pair in labels], dtype=int)
    for number, pair in enumerate(unique):
        start, count = controls.run(*pair)
        wanted = np.flatnonzero(codes == number)
        rng = numpy_rng(seed, "control cells", number)
        rounds = [rng.permutation(count) for _ in range(-(-len(wanted) // count))]
        chosen[wanted] = controls.rows[start + np.concatenate(rounds)[: len(wanted)]]
    return chosen


def generate_cells(
    stored: StoredGenerator,
    cells: Cells,
    table: pd.DataFrame,
    codes: np.ndarray,
    controls: np.ndarray,
    *,
    output: Literal["log", "counts"] = "log",
    unit: np.ndarray | None = None,
    library_size: str | float = "condition",
    seed: int,
    device: torch.device,
) -> sparse.csr_matrix:
    """Generate one cell for every row of `codes` (into `table`) from the control cells at `controls`.

    `unit` ``(n,)`` is the normalised value of one count in each generated cell (the larger, the shallower the cell); by
    default `library_size` decides, see :func:`scperturbrl.data.generator.depth.generated_units`.

    Returns
    -------
    Log-normalised cells, or their counts, ``(n, G)`` float32. Only some hundred cells are dense at a time.
    """
    with one_thread(device):
        conditions = recentred(stored, cells, table, seed=seed, device=device)
        generator = stored.generator.to(device)
        own = generated_units(stored, cells, table, codes, controls, library_size) if unit is None else unit
        blocks = generator.blocks(
            _control_cells(cells, controls),
            torch.as_tensor(own, dtype=torch.float32),
            conditions.to(device),
            torch.as_tensor(codes),
            seed=seed,
        )
        made = [sparse.csr_matrix(block[output == "counts"].numpy()) for block in blocks]
        generator.cpu()
    return sparse.vstack(made, format="csr") if made else sparse.csr_matrix((0, len(cells.genes)), dtype=np.float32)


def _control_cells(cells: Cells, controls: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Function from indices into `controls` to those cells, dense; each cell is kept once."""
    rows, place = np.unique(controls, return_inverse=True)
    kept = cells.expression[rows]
    return lambda index: torch.as_tensor(dense(kept[place[index.numpy()]]))
