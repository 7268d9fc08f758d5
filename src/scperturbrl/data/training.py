"""Training a stored generator on the cells of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core import keys
from scperturbrl.data.task import build_task
from scperturbrl.data.training_set import Controls, latent_cells
from scperturbrl.flow.fit import FitResult, FitSettings, fit_flow
from scperturbrl.rl.yardstick import Yardstick

if TYPE_CHECKING:
    from collections.abc import Callable

    from scperturbrl.data.cells import Cells
    from scperturbrl.data.stored_generator import StoredGenerator
    from scperturbrl.flow.generator import Generator


def train_generator(stored: StoredGenerator, cells: Cells, settings: FitSettings, device: torch.device) -> FitResult:
    """Train encoder and velocity of `stored` on the training cells, watched by the validation conditions.

    Raises
    ------
    ValueError
        If there are no training cells.
    """
    generator = stored.generator
    factor = torch.as_tensor(np.asarray(stored.params["denoise"]), dtype=torch.float32)
    space = generator.space
    controls = Controls.of(cells)
    train = latent_cells(cells, keys.TRAIN, space, factor, controls)
    validation = latent_cells(cells, keys.VALIDATION, space, factor, controls)
    conditions = stored.vocabulary.batch(cells.table).to(device)
    if train is None:
        msg = "There are no training cells. Check `obs['split']`, or call `scperturbrl.pp.split(adata)` again."
        raise ValueError(msg)
    generator.to(device)
    distance = _distance(stored, cells, settings.seed, device)
    result = fit_flow(generator.train(), train, validation, conditions, settings, distance)
    generator.eval().cpu()
    return result


def _distance(
    stored: StoredGenerator, cells: Cells, seed: int, device: torch.device
) -> Callable[[Generator], float] | None:
    """Energy distance to the real cells of validation and of training conditions, both as a share of their effects'.

    Validation conditions alone, often a single one, can be closest to a generator that has hardly been trained.
    """
    sides = [(label, cells.conditions(label, min_cells=10)) for label in (keys.VALIDATION, keys.TRAIN)]
    if not all(conditions for _, conditions in sides):
        return None
    stored.generator.cpu()
    yardsticks = [Yardstick(build_task(stored, cells, names, label, seed=seed).to(device)) for label, names in sides]
    stored.generator.to(device)
    return lambda model: sum(yardstick.measure(model, seed=seed) for yardstick in yardsticks) / 2
