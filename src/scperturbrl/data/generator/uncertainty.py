"""How far from training a condition is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.data.generator.contexts import context_line, is_new_context
from scperturbrl.data.generator.means import predicted_means

if TYPE_CHECKING:
    import pandas as pd

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator


def uncertainties(
    stored: StoredGenerator,
    cells: Cells,
    table: pd.DataFrame,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    r"""How far from training each condition of `table` is ``(C,)``, as a root mean square over genes, log-normalised.

    Two models that were fitted to the same cells in different ways agree near them: with the mean of the flow :math:`f`, that of
    the linear part :math:`l`, both in expression, and :math:`u` perturbations that training never saw it is

    .. math:: \sqrt{(\lVert f - l \rVert^2 + u e^2) / G},

    where :math:`e^2` is the squared error of the linear map from features for a perturbation left out. 0 for conditions that were
    trained on and for controls; NaN where the linear part predicts nothing.
    """
    tokens = set(stored.vocabulary.tokens)
    n_unseen = np.array([sum(part not in tokens for part in parts) for parts in table["parts"]])
    found = np.zeros(len(table))
    far = ~table.index.isin(stored.training_conditions()) & (table["parts"].str.len() > 0).to_numpy()
    for kind in (far & (n_unseen == 0), far & (n_unseen > 0)):
        rows = np.flatnonzero(kind)
        if not len(rows):
            continue
        own = table.iloc[rows]
        means = predicted_means(stored, cells, own, np.ones(len(rows), dtype=bool), seed=seed, device=device)
        square = (means.flow - means.linear).square().sum(1).numpy().astype(float)
        square += n_unseen[rows] * _map_error(stored, own)
        scale = float(stored.generator.space.scale)
        found[rows] = np.where(means.known.numpy(), scale * np.sqrt(square / len(stored.genes)), np.nan)
    return found


def reliabilities(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Share of the squared effects that the linear part explained when such conditions were left out of training ``(C,)``.

    Of perturbations that training never saw, by leaving trained perturbations out; of known ones in a new context, against the mean
    shift, by leaving trained contexts out. NaN for other conditions, and where too few were trained on to tell.
    """
    linear, tokens = stored.generator.linear, set(stored.vocabulary.tokens)
    unseen = np.array([bool(set(parts) - tokens) for parts in table["parts"]], dtype=bool)
    group = stored.vocabulary.group_codes(table)
    mapped = linear.mapped[group].bool() | (linear.mapped[0] > 0)
    r2 = torch.where(linear.mapped[group].bool(), linear.map_r2[group], linear.map_r2[0])
    found = np.where(unseen & mapped.numpy(), r2.numpy(), np.nan)
    line = context_line(stored)
    carried = is_new_context(stored, table) & ~unseen & (table["parts"].str.len() > 0).to_numpy(dtype=bool)
    return np.where(carried & (line.share > 0), 1 - line.error, found)


def _map_error(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    linear, group = stored.generator.linear, stored.vocabulary.group_codes(table)
    return torch.where(linear.mapped[group].bool(), linear.map_error[group], linear.map_error[0]).numpy()
