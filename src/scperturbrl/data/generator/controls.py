"""The control cells from which a generator starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scperturbrl._core.random import numpy_rng
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.generator.depth import depth_ratios
from scperturbrl.data.latent.cells import Controls, control_units, encode_group, encode_rows, sparse_counts
from scperturbrl.flow.rollout.control_pool import ControlPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from torch import Tensor

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.flow.control_cells import ControlCells

MOST = 2048


def draw_controls(cells: Cells, groups: Sequence[str], batches: Sequence[str] | None, *, seed: int) -> np.ndarray:
    """Rows of control cells, one for each cell to generate, drawn within its group (and batch) with few repeats."""
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


def control_cells(stored: StoredGenerator, cells: Cells, controls: np.ndarray) -> Callable[[Tensor], ControlCells]:
    """Function from indices into `controls` to these cells on the device of the generator; each cell is stored once."""
    rows, place = np.unique(controls, return_inverse=True)
    groups = cells.table["group"].to_numpy()[cells.codes[rows]]
    kept, unit = _kept(cells, rows)
    chosen = _chosen(Controls.of(cells), groups)
    centres = {group: encode_group(cells, own, stored.generator.space).mean(0) for group, own in chosen.items()}
    centre = torch.stack([centres[group] for group in groups]) if len(groups) else torch.zeros(0)

    def read(index: Tensor) -> ControlCells:
        wanted, generator = place[index.numpy()], stored.generator
        parts = torch.as_tensor(dense(kept[wanted])), unit[wanted], centre[wanted]
        return generator.read_controls(*(part.to(generator.device) for part in parts))

    return read


def _kept(cells: Cells, rows: np.ndarray) -> tuple[Any, Tensor]:
    """Expression and count units of the cells at `rows`; cached, because conditions share control cells."""
    held, kept, unit = cells.once.get(_kept, (None, None, None))
    if held is None or not np.array_equal(held, rows):
        kept, unit = cells.expression[rows], torch.as_tensor(control_units(cells, rows), dtype=torch.float32)
        cells.once[_kept] = rows, kept, unit
    return kept, unit


def control_pool(stored: StoredGenerator, cells: Cells, table: pd.DataFrame) -> ControlPool:
    """Control cells of the conditions of `table`, at most 2,048 of each group."""
    groups, generator = table["group"].astype(str).tolist(), stored.generator
    chosen = _chosen(Controls.of(cells), groups)
    length = np.array([len(own) for own in chosen.values()])
    first = dict(zip(chosen, np.cumsum(length) - length, strict=True))
    rows = np.concatenate(list(chosen.values()))
    unit, latent = control_units(cells, rows), encode_rows(cells, rows, generator.space)
    centre = torch.cat([part.mean(0).expand_as(part) for part in latent.split(length.tolist())])
    return ControlPool(
        latent=latent,
        denoised=centre + generator.denoise * (latent - centre),
        counts=sparse_counts(cells, rows, unit),
        unit=torch.as_tensor(unit, dtype=torch.float32),
        start=torch.as_tensor([first[group] for group in groups]),
        count=torch.as_tensor([len(chosen[group]) for group in groups]),
        depth=torch.as_tensor(depth_ratios(stored, table), dtype=torch.float32),
    )


def _chosen(controls: Controls, groups: Sequence[str]) -> dict[str, np.ndarray]:
    """Rows of control cells of each group: all, or 2,048 evenly spaced ones."""
    found = {}
    for group in dict.fromkeys(groups):
        start, count = controls.run(group)
        spaced = np.linspace(0, count - 1, min(count, MOST)).round().astype(int)
        found[group] = controls.rows[start + spaced]
    return found
