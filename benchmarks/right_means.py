"""Cells with the mean that a model would have to know: what is left to tell them from real ones is not the mean.

An oracle and no model: it looks at every second of the held-out cells. (With the mean of all of them, cells would be closer to these than
further real ones are, and a classifier would do worse than chance.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import torch

from scperturbrl.data.cells import Cells, dense
from scperturbrl.data.generation import draw_controls
from scperturbrl.data.recentring import recentred
from scperturbrl.data.registry import Setup
from scperturbrl.data.stored_generator import read_generator
from scperturbrl.data.training_set import control_units, encode_rows

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.generator import Generator

N_ROUNDS = 4


def right_means(adata: ad.AnnData, key: str, n_cells: int, seed: int) -> ad.AnnData:
    """Cells of the generator `key`, each held-out condition shifted so that its mean in the space of the flow is that of half its real cells."""
    stored, setup = read_generator(adata, key), Setup.of(adata)
    cells, generator = Cells.of(adata, setup), stored.generator
    table = cells.table.loc[cells.conditions("test")]
    codes = np.repeat(np.arange(len(table)), n_cells)
    rows = draw_controls(cells, table["group"].to_numpy()[codes], None, seed=seed)
    control, unit = torch.as_tensor(dense(cells.expression[rows])), torch.as_tensor(control_units(cells, rows)).float()
    index, batch = torch.as_tensor(codes), recentred(stored, cells, table, seed=seed)
    shift = batch.shift.expand(len(table), -1)
    target = torch.stack([_mean(cells, row, generator) for row in cells.rows(list(table.index))])
    for _ in range(N_ROUNDS):
        made, _ = generator.generate(control, unit, replace(batch, shift=shift), index, seed=seed)
        shift = shift + target - generator.space.encode(made).view(len(table), n_cells, -1).mean(1)
    made, _ = generator.generate(control, unit, replace(batch, shift=shift), index, seed=seed)
    obs = pd.DataFrame({setup.perturbation_key: table["perturbation"].to_numpy()[codes]})
    for i, column in enumerate(setup.covariate_keys):
        obs[column] = table["covariates"].str[i].to_numpy()[codes]
    obs.index = obs.index.astype(str)
    return ad.AnnData(made.numpy(), obs=obs, var=adata.var[[]])


def _mean(cells: Cells, row: int, generator: Generator) -> Tensor:
    return encode_rows(cells, np.flatnonzero(cells.codes == row)[::2], generator.space).mean(0)
