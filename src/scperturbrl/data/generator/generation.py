"""Generation for given control cells and conditions of an AnnData, by :meth:`Generator.generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from scperturbrl._core.machine.memory import give_back_freed
from scperturbrl._core.machine.threads import one_thread
from scperturbrl.data.cells.growing_rows import GrowingRows
from scperturbrl.data.generator.controls import control_cells
from scperturbrl.data.generator.depth import generated_units
from scperturbrl.data.generator.linear import recentred
from scperturbrl.flow.generated_blocks import generated_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd
    from scipy import sparse

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator


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
    how: dict[str, Any] = {"unit": unit, "library_size": library_size, "seed": seed, "device": device}
    rows = GrowingRows(len(cells.genes), len(codes))
    for block in generated_rows(stored, cells, table, codes, controls, output=output, **how):
        rows.add(block)
        # or it would stay while the next one is made
        del block
    return rows.matrix()


def generated_rows(
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
) -> Iterator[np.ndarray]:
    """The same cells in dense blocks, one after another."""
    with one_thread(device):
        conditions = recentred(stored, cells, table, seed=seed, device=device)
        read = control_cells(stored, cells, controls)
        generator = stored.generator.to(device)
        own = generated_units(stored, cells, table, codes, controls, library_size) if unit is None else unit
        blocks = generated_blocks(
            generator,
            read,
            torch.as_tensor(own, dtype=torch.float32),
            conditions.to(device),
            torch.as_tensor(codes),
            seed=seed,
        )
        # what the means needed; it would stay beside the cells that are added now
        give_back_freed()
        for block in blocks:
            yield block[output == "counts"].numpy()
            # or it would stay while the next one is made
            del block
        generator.cpu()
