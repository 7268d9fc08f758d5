"""The context line as a baseline: transfers the effect of a perturbation from other contexts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics.baselines.context_line import fit_context_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.metrics.baselines.context_line import ContextLine

CONTEXT_LINE = "context_line"


@dataclass(frozen=True)
class ContextEffects:
    """Effects of single perturbations in K contexts, and the context line that transfers them to another.

    Attributes
    ----------
    contexts, perturbations
        Names of the K contexts and the P perturbations.
    controls
        ``(K, G)`` mean control profiles.
    effects
        ``(K, P, G)`` effects, doses averaged; NaN where not measured.
    profiles
        Mean control profile of each context, including contexts without perturbed cells.
    line
        Fitted to `controls` and `effects`.
    """

    contexts: list[str]
    perturbations: list[str]
    controls: np.ndarray
    effects: np.ndarray
    profiles: Mapping[str, np.ndarray]
    line: ContextLine

    @classmethod
    def of(cls, cells: Cells, conditions: Sequence[str], effects: np.ndarray) -> ContextEffects:
        """Collect them from the `effects` ``(C, G)`` of training `conditions` and the training control cells of `cells`."""
        rows = cells.table.loc[list(conditions)]
        single = (rows["parts"].str.len() == 1).to_numpy(dtype=bool)
        groups, names = rows["group"].to_numpy()[single], rows["perturbation"].to_numpy()[single]
        contexts, perturbations = sorted(set(groups)), sorted(set(names))
        table = np.full((len(contexts), len(perturbations), effects.shape[1]), np.nan)
        for k, context in enumerate(contexts):
            for p, name in enumerate(perturbations):
                same = (groups == context) & (names == name)
                if same.any():
                    table[k, p] = effects[single][same].mean(0)
        profiles = control_profiles(cells)
        controls = np.stack([profiles[context] for context in contexts]) if contexts else np.zeros((0, table.shape[2]))
        return cls(contexts, perturbations, controls, table, profiles, fit_context_line(controls, table))

    def predict(self, group: str, parts: Sequence[str], otherwise: np.ndarray) -> np.ndarray:
        """Effect ``(G,)`` of the sum of `parts` in context `group`; `otherwise` if no other context has a part."""
        total = np.zeros(self.controls.shape[1])
        for part in parts:
            if part not in self.perturbations:
                return otherwise
            own = self.effects[:, self.perturbations.index(part)]
            measured = np.isfinite(own).all(1) & (np.array(self.contexts) != group)
            if not measured.any():
                return otherwise
            total += self.line.predict(self.controls[measured], own[measured], control_query=self.profiles[group])
        return total


def control_profiles(cells: Cells) -> dict[str, np.ndarray]:
    """Mean profile ``(G,)`` of the training control cells of each context."""
    control = cells.table["is_control"].to_numpy(dtype=bool)[cells.codes] & cells.is_training()
    group = cells.table["group"].to_numpy()[cells.codes]
    found = {}
    for name in np.unique(group[control]):
        rows = np.flatnonzero(control & (group == name))
        total = np.zeros(len(cells.genes))
        for _, block in cells.pieces(rows):
            total += np.asarray(block.sum(0), dtype=np.float64).ravel()
        found[str(name)] = total / len(rows)
    return found
