"""Oracles with the right means: they show how much of the error is not due to the mean.

These are not models. `right_means` uses every second held-out cell. (With the mean of all of them, cells would be
closer to these than further real ones are, and a classifier would do worse than chance.) `measured_singles` uses none
of them, but reads the mean weight of singles in doubles from the truth of the simulator.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import torch

from benchmarks.known_singles import mean_weight
from scperturbrl.data.cells.cells import Cells, dense
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.linear import recentred
from scperturbrl.data.generator.stored import read_generator
from scperturbrl.data.latent.cells import control_units, encode_rows

if TYPE_CHECKING:
    from torch import Tensor


N_ROUNDS = 4


def right_means(adata: ad.AnnData, key: str, n_cells: int, seed: int) -> ad.AnnData:
    """Cells of the generator `key`, each held-out condition shifted so that its mean in the space of the flow is that of half its real cells."""
    cells = Cells.of(adata, Setup.of(adata))
    space = read_generator(adata, key).generator.space
    rows = cells.rows(list(cells.conditions("test")))
    target = torch.stack([encode_rows(cells, np.flatnonzero(cells.codes == row)[::2], space).mean(0) for row in rows])
    return _moved(adata, key, target, n_cells, seed)


def measured_singles(adata: ad.AnnData, key: str, n_cells: int, seed: int) -> ad.AnnData:
    """Cells of the generator `key`, each held-out double shifted to the measured effects of its singles, as much of them as doubles do on average."""
    weight, cells = mean_weight(adata), Cells.of(adata, Setup.of(adata))
    table, names = cells.table.loc[cells.conditions("test")], list(cells.table.index)
    space = read_generator(adata, key).generator.space
    mean = lambda row: encode_rows(cells, np.flatnonzero(cells.codes == row), space).mean(0)
    control = mean(cells.control_row(names.index(table.index[0])))
    effects = [torch.stack([mean(names.index(part)) - control for part in parts]).sum(0) for parts in table["parts"]]
    return _moved(adata, key, control + weight * torch.stack(effects), n_cells, seed)


def _moved(adata: ad.AnnData, key: str, target: Tensor, n_cells: int, seed: int) -> ad.AnnData:
    """Cells of the held-out conditions, shifted until their means in the space of the flow are `target` ``(C, d)``."""
    stored, setup = read_generator(adata, key), Setup.of(adata)
    cells, generator = Cells.of(adata, setup), stored.generator
    table = cells.table.loc[cells.conditions("test")]
    codes = np.repeat(np.arange(len(table)), n_cells)
    rows = draw_controls(cells, table["group"].to_numpy()[codes], None, seed=seed)
    control, unit = torch.as_tensor(dense(cells.expression[rows])), torch.as_tensor(control_units(cells, rows)).float()
    index, batch = torch.as_tensor(codes), recentred(stored, cells, table, seed=seed)
    shift = batch.shift.expand(len(table), -1)
    for _ in range(N_ROUNDS):
        made, _ = generator.generate(control, unit, replace(batch, shift=shift), index, seed=seed)
        shift = shift + target - generator.space.encode(made).view(len(table), n_cells, -1).mean(1)
    made, _ = generator.generate(control, unit, replace(batch, shift=shift), index, seed=seed)
    obs = pd.DataFrame({setup.perturbation_key: table["perturbation"].to_numpy()[codes]})
    for i, column in enumerate(setup.covariate_keys):
        obs[column] = table["covariates"].str[i].to_numpy()[codes]
    obs.index = obs.index.astype(str)
    return ad.AnnData(made.numpy(), obs=obs, var=adata.var[[]])
