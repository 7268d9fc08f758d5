"""Which conditions watch training: as few cells as will do, and none that the test conditions rest on."""

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
    """What decides which conditions must stay in training.

    Attributes
    ----------
    needed
        Conditions that must stay whatever else.
    described
        Perturbations that can be predicted without having been trained on.
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

    They hold at most the share `fraction` of all perturbed cells. Whole `units`, the kind that is held out, come first, of
    which one stays; then single conditions. None that is `kept` as needed, none that is the last in training with a perturbation,
    part or context of a test condition or in the context most similar to it, and none that could then not be predicted.
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
    """Takes conditions out of training one after another as long as that is allowed."""

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
        # what test conditions rest on; and perturbations of which only training cells tell anything
        self.kept = {tie for name in perturbed.index[labels[perturbed.index] == keys.TEST] for tie in self.ties[name]}
        self.kept |= {("context", name) for tie in list(self.kept) for name in self._nearest(tie, similar)}
        self.kept |= {tie for tie in self.training if tie[0] == "part" and tie[1] not in described.names}

    def _nearest(self, tie: tuple[str, str], similar: Mapping[str, Sequence[str]]) -> list[str]:
        """The most similar context that is trained on, of a context without perturbed training cells."""
        if tie[0] != "context" or self.training[tie]:
            return []
        return [name for name in similar.get(tie[1], ()) if self.training["context", name]][:1]

    def first_that_fit(self, units: Iterable[list[str]], *, most: int) -> list[str]:
        """Conditions of the first of `units` that may be taken, up to `most`; the first too large one after them ends it."""
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
    """What a condition has in common with others: its perturbation, its parts, its context."""
    parts = [("part", part) for part in row.parts]  # type: ignore[attr-defined]
    return [("perturbation", row.perturbation), ("context", row.group), *parts]  # type: ignore[attr-defined]
