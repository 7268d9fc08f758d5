"""Effects of trained perturbations at doses that were not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scperturbrl.data.generator.stored import positions
from scperturbrl.metrics.baselines.dose import interpolated_dose_effect

if TYPE_CHECKING:
    import pandas as pd

    from scperturbrl.data.generator.stored import StoredGenerator


def fit_doses(stored: StoredGenerator, table: pd.DataFrame, effects: Tensor) -> None:
    """Store the latent effects ``(C, d)`` of the training conditions of `table`, if some have a dose."""
    linear, position = stored.generator.linear, positions(stored)
    linear.condition_effect.zero_()
    if not (table["dose"] > 0).any():
        return
    linear.condition_effect[[position[name] for name in table.index]] = effects


class DoseEffects(NamedTuple):
    """Latent effects ``(C, d)`` at unmeasured doses, where there are some ``(C,)``, and which lie between measured doses ``(C,)``."""

    effect: Tensor
    known: Tensor
    between: Tensor


def dose_effects(stored: StoredGenerator, table: pd.DataFrame) -> DoseEffects:
    """Effects of the conditions of `table` that are trained perturbations at unmeasured doses.

    They are interpolated between the doses of the same perturbation in the same control group, linear in the logarithm of the dose.
    Beyond these doses it is the effect at the nearest one.
    """
    effects = stored.generator.linear.condition_effect.numpy()
    found, known, between = torch.zeros(len(table), effects.shape[1]), *torch.zeros(2, len(table), dtype=torch.bool)
    wanted = ((table["dose"] > 0) & (table["parts"].str.len() == 1)).to_numpy(dtype=bool)
    if not wanted.any():
        return DoseEffects(found, known, between)
    trained = stored.conditions.loc[list(positions(stored))]
    # a condition with a single cell has no measured effect
    usable = (trained["dose"] > 0) & (trained["n_parts"] == 1) & effects.any(1)
    doses, rows = trained["dose"].to_numpy(float), np.arange(len(trained))[usable]
    same = trained[usable].groupby(["perturbation", "group"], observed=True).indices
    for row in np.flatnonzero(wanted & ~table.index.isin(trained.index)):
        name, group, dose = table.iloc[row][["perturbation", "group", "dose"]]
        own = rows[same.get((name, group), [])]
        if len(own):
            at = {
                "labels_train": [name] * len(own),
                "doses_train": doses[own],
                "labels_query": [name],
                "doses_query": [dose],
            }
            found[row] = torch.as_tensor(interpolated_dose_effect(effects_train=effects[own], **at)[0])
            known[row], between[row] = True, bool(doses[own].min() < dose < doses[own].max())
    return DoseEffects(found, known, between)
