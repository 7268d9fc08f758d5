"""Effects of trained perturbations at doses that were not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.metrics.baselines.dose import interpolated_dose_effect

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from scperturbrl.data.generator.stored import StoredGenerator


def fit_doses(stored: StoredGenerator, table: pd.DataFrame, effects: Tensor) -> None:
    """Store the latent effects ``(C, d)`` of the training conditions of `table`, if some have a dose."""
    linear, position = stored.generator.linear, positions(stored)
    linear.condition_effect.zero_()
    if not (table["dose"] > 0).any():
        return
    kept = [i for i, name in enumerate(table.index) if name in position]
    linear.condition_effect[[position[table.index[i]] for i in kept]] = effects[kept]


def dose_effects(stored: StoredGenerator, table: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Latent effects ``(C, d)`` interpolated between doses of the same perturbation in the same control group, and where there are such ``(C,)``.

    Linear in the logarithm of the dose between measured doses; outside of them, the effect at the nearest one.
    """
    effects = stored.generator.linear.condition_effect
    found, known = torch.zeros(len(table), effects.shape[1]), torch.zeros(len(table), dtype=torch.bool)
    wanted = ((table["dose"] > 0) & (table["parts"].str.len() == 1)).to_numpy(dtype=bool)
    if not wanted.any():
        return found, known
    trained = stored.conditions.loc[list(positions(stored))]
    rows = effects.numpy()
    usable = ((trained["dose"] > 0) & (trained["n_parts"] == 1)).to_numpy(dtype=bool) & (rows != 0).any(1)
    for row in np.flatnonzero(wanted & ~table.index.isin(trained.index)):
        own = table.iloc[row]
        same = (trained["perturbation"] == own["perturbation"]) & (trained["group"] == own["group"])
        doses = np.flatnonzero(usable & same.to_numpy(dtype=bool))
        if len(doses):
            at = {"doses_train": trained["dose"].to_numpy(float)[doses], "doses_query": [float(own["dose"])]}
            labels = [own["perturbation"]] * len(doses)
            found[row] = torch.as_tensor(
                interpolated_dose_effect(labels, rows[doses], labels_query=labels[:1], **at)[0], dtype=torch.float32
            )
            known[row] = True
    return found, known


def positions(stored: StoredGenerator) -> dict[str, int]:
    """Row of each perturbed training condition among the shifts and effects of trained conditions."""
    perturbed = stored.conditions["n_parts"] > 0
    return {name: i for i, name in enumerate(n for n in stored.training_conditions() if perturbed[n])}
