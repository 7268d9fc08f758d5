"""Default conditions of a plot with one panel for each condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core import keys
from scperturbrl.data.cells.cells import split_labels
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup

if TYPE_CHECKING:
    from anndata import AnnData


def default_conditions(adata: AnnData, count: int) -> list[str]:
    """Up to `count` test conditions with the most cells, in their own order; perturbed conditions if there are none."""
    table, codes = condition_table(adata, Setup.of(adata))
    split = pd.Series(split_labels(adata)).groupby(codes).first().to_numpy()
    perturbed = ~table["is_control"].to_numpy()
    held_out = perturbed & (split == keys.TEST)
    found = table[held_out if held_out.any() else perturbed]
    largest = np.sort(np.argsort(-found["n_cells"].to_numpy(), kind="stable")[:count])
    return [str(name) for name in found.index[largest]]
