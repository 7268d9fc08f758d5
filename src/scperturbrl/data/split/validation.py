"""Choose validation conditions: few cells, and none on which test conditions depend."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from scperturbrl._core import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import pandas as pd

    from scperturbrl.data.split.predictable import Described


class Kept(NamedTuple):
    """Data that determine which conditions must stay in training.

    Attributes
    ----------
    needed
        Conditions that must always stay in training.
    described
        Perturbations that can be predicted without training cells.
    similar
        The other contexts of each context, most similar first.
    """

    needed: Sequence[str]
    described: Described
    similar: Mapping[str, Sequence[str]]


def set_validation(
    labels: pd.Series,
    table: pd.DataFrame,
    units: dict[str, list[str]],
    fraction: float,
    rng: np.random.Generator,
    kept: Kept,
) -> None:
    """Label some of the perturbed training conditions as validation, in place.

    They have at most the share `fraction` of all perturbed cells. Whole `units` (the kind that is held out) are tried
    first, but one unit stays in training; then single conditions. Excluded are conditions that are `kept` as needed,
    the last training condition with a perturbation, part or context of a test condition or in the context most similar
    to it, and conditions that could not be predicted.
    """
    remaining = labels.index[(labels == keys.TRAIN) & ~table["is_control"]]
    if fraction == 0 or len(remaining) < 3:
        return
    draw = _Draw(table, labels, fraction, kept.described, kept.similar)
    kind = [unit for unit in sorted(units) if set(units[unit]) <= set(remaining)]
    order = rng.permutation(len(kind))
    taken = draw.first_that_fit([units[kind[i]] for i in order], most=len(kind) - 1)
    spare = sorted(set(remaining) - set(kept.needed))
    if not taken and spare:
        taken = draw.first_that_fit([[spare[i]] for i in rng.permutation(len(spare))], most=len(remaining) - 1)
    labels[taken] = keys.VALIDATION


class _Draw:
    """Removes conditions from training one by one as long as this is allowed."""

    def __init__(
        self,
        table: pd.DataFrame,
        labels: pd.Series,
        fraction: float,
        described: Described,
        similar: Mapping[str, Sequence[str]],
    ) -> None:
        perturbed = table[~table["is_control"]]
        self.cells = dict(zip(table.index, table["n_cells"], strict=True))
        self.left = fraction * float(perturbed["n_cells"].sum())
        self.ties = {name: _ties(row) for name, row in zip(perturbed.index, perturbed.itertuples(), strict=True)}
        self.training = Counter(
            tie for name in perturbed.index[labels[perturbed.index] == keys.TRAIN] for tie in self.ties[name]
        )
        # conditions on which test conditions depend; and perturbations known from training cells only
        self.kept = {tie for name in perturbed.index[labels[perturbed.index] == keys.TEST] for tie in self.ties[name]}
        self.kept |= {("context", name) for tie in list(self.kept) for name in self._nearest(tie, similar)}
        self.kept |= {tie for tie in self.training if tie[0] == "part" and tie[1] not in described.names}

    def _nearest(self, tie: tuple[str, str], similar: Mapping[str, Sequence[str]]) -> list[str]:
        """The most similar training context of a context without perturbed training cells."""
        if tie[0] != "context" or self.training[tie]:
            return []
        return [name for name in similar.get(tie[1], ()) if self.training["context", name]][:1]

    def first_that_fit(self, units: Iterable[list[str]], *, most: int) -> list[str]:
        """Conditions of the first allowed `units`, up to `most` cells; stops at the first unit that is too large."""
        taken: list[str] = []
        for unit in units:
            size = sum(self.cells[name] for name in unit)
            if most <= 0 or (taken and size > self.left):
                break
            ties = Counter(tie for name in unit for tie in self.ties[name])
            last = any(self.training[tie] == n and tie in self.kept for tie, n in ties.items())
            if size <= self.left and not last:
                self.training -= ties
                self.left -= size
                taken += unit
                most -= 1
        return taken


def _ties(row: object) -> list[tuple[str, str]]:
    """What a condition may share with others: its perturbation, its parts, its context."""
    parts = [("part", part) for part in row.parts]  # type: ignore[attr-defined]
    return [("perturbation", row.perturbation), ("context", row.group), *parts]  # type: ignore[attr-defined]
