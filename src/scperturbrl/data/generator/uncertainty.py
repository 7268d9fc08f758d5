"""Distance of conditions from the training data."""

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
    r"""Uncertainty ``(C,)`` of each condition of `table`, as a root mean square over genes, log-normalised.

    Two different models of the same cells agree near the training data. With the mean :math:`f` of the flow, the mean
    :math:`l` of the linear part, both in expression, and :math:`u` unseen perturbations, the uncertainty is

    .. math:: \sqrt{(\lVert f - l \rVert^2 + u e^2) / G},

    where :math:`e^2` is the squared error of the linear map from features for a left-out perturbation. 0 for trained
    conditions and controls; NaN if the linear part has no prediction.
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
    """Share ``(C,)`` of the squared effects that the linear part explained for left-out conditions of the same kind.

    For unseen perturbations, trained perturbations were left out. For known perturbations in a new context, trained
    contexts were left out, and the share is relative to the mean shift; below 0 the mean shift is closer. NaN for other conditions, and with too little
    training data.
    """
    linear, tokens = stored.generator.linear, set(stored.vocabulary.tokens)
    unseen = np.array([bool(set(parts) - tokens) for parts in table["parts"]], dtype=bool)
    group = stored.vocabulary.group_codes(table)
    mapped = linear.mapped[group].bool() | (linear.mapped[0] > 0)
    r2 = torch.where(linear.mapped[group].bool(), linear.map_r2[group], linear.map_r2[0])
    found = np.where(unseen & mapped.numpy(), r2.numpy(), np.nan)
    line = context_line(stored)
    carried = is_new_context(stored, table) & ~unseen & (table["parts"].str.len() > 0).to_numpy(dtype=bool)
    # exactly 1 where no context could be left out
    return np.where(carried & (line.error != 1), 1 - line.error, found)


def _map_error(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    linear, group = stored.generator.linear, stored.vocabulary.group_codes(table)
    return torch.where(linear.mapped[group].bool(), linear.map_error[group], linear.map_error[0]).numpy()
