"""Compare generated with real cells of training conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core import keys
from scperturbrl._core.random import numpy_rng, torch_rng
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.generator.task import build_task
from scperturbrl.metrics.cells.distribution import energy_distance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator

N_CONDITIONS, N_CELLS, MIN_CELLS = 24, 256, 20
# Thresholds are for cells that clearly differ from the data, not for what training could still improve.
_ENERGY, _ERROR, _ZEROS = 0.25, 0.35, 0.05


@torch.no_grad()
def self_check(stored: StoredGenerator, cells: Cells, *, seed: int) -> dict[str, float]:
    """Compare generated with real cells of trained conditions, with controls and halves of the real cells for reference.

    Parameters
    ----------
    stored
        Fitted generator.
    cells
        Training cells. Up to 256 are read for each of up to 24 conditions with at least 20 cells.
    seed
        Seed.

    Returns
    -------
    Medians over conditions of ``energy`` (energy distance in the space of the flow), ``squared_error`` (of mean log-normalised expression,
    mean over genes), ``linear_error`` (the same of rates, as a share of the squared rates), ``zeros`` (mean absolute difference of
    the share of zeros) and ``variance_ratio``; the first three and ``zeros`` also with ``_control`` (unchanged control
    cells) and ``_halves`` (one half of the real cells against the other). Empty if no condition has enough cells.
    """
    names = cells.conditions(keys.TRAIN, min_cells=MIN_CELLS)
    if not names:
        return {}
    spaced = np.unique(np.linspace(0, len(names) - 1, min(len(names), N_CONDITIONS)).round().astype(int))
    names = [names[i] for i in spaced]
    generator, rng = stored.generator, torch_rng(seed, "self-check")
    task = build_task(stored, cells, names, keys.TRAIN, seed=seed)
    found: list[dict[str, float]] = []
    for i, row in enumerate(cells.rows(names)):
        index = torch.full((N_CELLS,), i)
        control, unit = task.pool.draw(index[:1], N_CELLS, rng)
        latent = generator.sample_latent(control.latent, task.conditions, index, rng)
        drawn, _ = generator.sample_cells(latent, control, unit, task.conditions, index, rng)
        real = _some(cells, row, seed)
        # the same control cells as for the generated cells, so that the choice of cells makes no difference
        untouched = torch.log1p(control.counts * control.unit[:, None]).numpy()
        half = numpy_rng(seed, "halves of the self-check", i).permutation(len(real))
        first, second = real[half[::2]], real[half[1::2]]
        encode = lambda block: generator.space.encode(torch.as_tensor(block)).numpy()
        sides = {"": (drawn.numpy(), real), "_control": (untouched, real), "_halves": (first, second)}
        own = {
            name + side: value
            for side, (made, seen) in sides.items()
            for name, value in _compared(made, seen, encode(made), encode(seen)).items()
        }
        found.append({name: value for name, value in own.items() if not name.startswith("variance_ratio_")})
    return {name: float(np.nanmedian([one[name] for one in found])) for name in found[0]}


def self_check_problems(measured: Mapping[str, float]) -> list[str]:
    """Problems in the results of :func:`self_check`, each with a remedy."""
    if not measured:
        return []
    found, control = [], max(measured["energy_control"], 0.0)
    if measured["energy"] > max(measured["energy_halves"], 0) + _ENERGY * control + 0.02:
        found.append(
            f"their energy distance to real cells is {measured['energy']:.3g} (controls {measured['energy_control']:.3g}, halves of the real "
            f"cells {measured['energy_halves']:.3g}): train for longer (`n_steps`), or with fewer components (`n_latent`) if the panel is shallow"
        )
    error = measured["squared_error"] - measured["squared_error_halves"]
    if error > max(measured["squared_error_halves"], _ERROR * measured["squared_error_control"]):
        found.append(
            f"the squared error of their mean expression is {measured['squared_error']:.3g} (controls {measured['squared_error_control']:.3g}, halves "
            f"{measured['squared_error_halves']:.3g}): train for longer (`n_steps`), or check that `X` is log1p of counts"
        )
    if measured["zeros"] > measured["zeros_halves"] + _ZEROS:
        found.append(
            f"their share of zeros is off by {measured['zeros']:.2f} (halves {measured['zeros_halves']:.2f}): use fewer components (`n_latent`)"
        )
    return found


def _some(cells: Cells, row: int, seed: int) -> np.ndarray:
    rows = np.flatnonzero((cells.codes == row) & cells.is_training())
    return cells.block(shuffled(cells, rows, seed, "cells of the self-check")[:N_CELLS])


def _compared(made: np.ndarray, real: np.ndarray, made_at: np.ndarray, real_at: np.ndarray) -> dict[str, float]:
    rates, real_rates = np.expm1(made).mean(0), np.expm1(real).mean(0)
    spread = real.var(0)
    return {
        "energy": energy_distance(made_at, real_at),
        "squared_error": float(np.square(made.mean(0) - real.mean(0)).mean()),
        "linear_error": float(np.square(rates - real_rates).sum() / max(np.square(real_rates).sum(), 1e-12)),
        "zeros": float(np.abs((made == 0).mean(0) - (real == 0).mean(0)).mean()),
        "variance_ratio": float(np.median(made.var(0)[spread > 0] / spread[spread > 0])) if spread.any() else np.nan,
    }
