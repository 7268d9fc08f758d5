"""Cross-fitting: no real cell is scored against a reference that was computed with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core.machine.threads import in_threads
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.cells.grouping import rows_of
from scperturbrl.data.reference.material import Material
from scperturbrl.data.reference.side_by_side import AT_ONCE, side_by_side
from scperturbrl.data.reference.statistics import draw_bank, fit_reference
from scperturbrl.verifiers.calibration import Calibration, fit_calibration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.reference.networks import Networks
    from scperturbrl.verifiers.base import Reference, Verifier

N_FOLDS = 3
N_SCORED = 200
MOST_SHARED = 4096
"""Cells scored in one call if all conditions score the same cells. Values that do not depend on the condition are computed once."""


class CrossFit:
    """References of some conditions, each from two thirds of the cells, for scoring the remaining third.

    Parameters
    ----------
    cells
        Expression and conditions.
    use
        ``(n_cells,)`` perturbed and control cells from which references may be computed.
    conditions
        Conditions to score.
    networks
        Pathways and transcription factors.
    verifiers
        V verifiers.
    bank_size, seed
        Real cells kept for comparison, and seed of folds and bank.
    """

    def __init__(
        self,
        cells: Cells,
        use: np.ndarray,
        *,
        conditions: Sequence[str],
        networks: Networks,
        verifiers: Sequence[Verifier],
        bank_size: int,
        seed: int,
    ) -> None:
        self.cells, self.use, self.conditions, self.verifiers = cells, use, list(conditions), list(verifiers)
        self.rows = cells.rows(conditions)
        self.seed, self.folds = seed, _folds(cells, seed)
        self.references = [self._reference(self.folds != fold, networks, bank_size, seed) for fold in range(N_FOLDS)]

    def _reference(self, inside: np.ndarray, networks: Networks, bank_size: int, seed: int) -> Reference:
        use, names, network = self.use & inside, self.conditions, networks.pathways[0]
        table = fit_reference(self.cells, use, conditions=names, network=network)
        bank = draw_bank(self.cells, use, conditions=names, ranked=table.ranked_genes(), size=bank_size, seed=seed)
        material = Material(self.cells, use, table, networks, bank_size=bank_size, seed=seed)
        return material.complete(table.to_tensors(bank, network), self.verifiers)

    def score_cells(self, index: np.ndarray, condition: int) -> torch.Tensor:
        """Raw scores ``(n, V)`` of real cells at `index`, each against the reference computed without it."""
        return self.score_real(index, np.full(len(index), condition))

    def score_real(self, index: np.ndarray, conditions: np.ndarray) -> torch.Tensor:
        """The same for cells of several conditions, given by number in `conditions` ``(n,)``."""
        scores = torch.full((len(index), len(self.verifiers)), torch.nan)
        units = list(self._units(index, conditions))

        def score(unit: tuple[int, np.ndarray, np.ndarray]) -> torch.Tensor:
            fold, numbers, places = unit
            block = self.cells.block(index[places.ravel()]).reshape(*places.shape, -1)
            own = self.references[fold].select(torch.as_tensor(numbers))
            return score_matrix(torch.as_tensor(block), self.verifiers, own)

        for (_, _, places), found in zip(units, in_threads(score, units), strict=True):
            scores[torch.as_tensor(places)] = found
        return scores

    def _units(self, index: np.ndarray, conditions: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """A fold, conditions ``(c,)``, and indices ``(c, n)`` of cells that are scored together."""
        for fold in range(N_FOLDS):
            members = rows_of(conditions, len(self.conditions), self.folds[index] == fold)
            parts = ((i, part) for i, own in enumerate(members) for part in _cut(own, self.cells.chunk))
            for numbers, places in side_by_side(parts, most=min(AT_ONCE, self.cells.chunk)):
                yield fold, numbers, places

    def score_block(self, block: np.ndarray, condition: int) -> torch.Tensor:
        """Raw scores ``(n, V)`` of other cells ``(n, G)``: the mean over all references."""
        return self.score_blocks(torch.as_tensor(block)[None], torch.tensor([condition]))[0]

    def score_blocks(self, block: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """The same ``(c, n, V)`` of cells ``(c, n, G)`` of several conditions, by number."""
        values = [score_matrix(block, self.verifiers, own.select(conditions)) for own in self.references]
        return torch.stack(values).mean(0)

    def score_fold(self, block: np.ndarray, fold: int, condition: int) -> torch.Tensor:
        """Raw scores ``(n, V)`` of other cells ``(n, G)`` against the reference computed without `fold`."""
        return self._score(torch.as_tensor(block), self.references[fold], condition)

    def calibration(self) -> Calibration:
        """Calibration from up to 200 real and control cells of each fold."""
        members = rows_of(self.cells.codes, len(self.cells.table), self.use)
        real, control = self._real_scores(members), self._control_scores(members)
        safeguard = torch.tensor([verifier.safeguard for verifier in self.verifiers])
        return fit_calibration(real, control, safeguard=safeguard)

    def _real_scores(self, members: Sequence[np.ndarray]) -> torch.Tensor:
        """Scores ``(C, m, V)`` of up to m real cells of each condition; NaN is padding."""
        drawn = [self._drawn(members[row]) for row in self.rows]
        count = [len(found) for found in drawn]
        conditions = np.repeat(np.arange(len(drawn)), count)
        scores = torch.full((len(drawn), max(count, default=0), len(self.verifiers)), torch.nan)
        place = np.concatenate([np.arange(n) for n in count]) if count else np.zeros(0, dtype=int)
        index = np.concatenate(drawn) if drawn else place
        scores[torch.as_tensor(conditions), torch.as_tensor(place)] = self.score_real(index, conditions)
        return scores

    def _control_scores(self, members: Sequence[np.ndarray]) -> torch.Tensor:
        """Scores ``(C, m, V)`` of up to m control cells, each scored for every condition of its group."""
        controls = np.array([self.cells.control_row(row) for row in self.rows], dtype=int)
        drawn = {int(row): self._drawn(members[row]) for row in np.unique(controls)}
        most = max(map(len, drawn.values()), default=0)
        scores = torch.full((len(controls), most, len(self.verifiers)), torch.nan)
        for row, found in drawn.items():
            judged = torch.as_tensor(np.flatnonzero(controls == row))
            for fold, reference in enumerate(self.references):
                for part in _cut(np.flatnonzero(self.folds[found] == fold), self.cells.chunk):
                    own = self._shared_scores(self.cells.block(found[part]), reference, judged)
                    scores[judged[:, None], torch.as_tensor(part)] = own
        return scores

    def _shared_scores(self, block: np.ndarray, reference: Reference, conditions: torch.Tensor) -> torch.Tensor:
        """Scores ``(c, n, V)`` of the same cells ``(n, G)`` for each of `conditions` ``(c,)``."""
        shared = torch.as_tensor(block)
        score = lambda some: score_matrix(shared.expand(len(some), -1, -1), self.verifiers, reference.select(some))
        return torch.cat(in_threads(score, conditions.split(max(1, MOST_SHARED // len(block)))))

    def _drawn(self, members: np.ndarray) -> np.ndarray:
        return shuffled(self.cells, members, self.seed, "cells for calibration")[: N_FOLDS * N_SCORED]

    def _score(self, block: torch.Tensor, reference: Reference, condition: int) -> torch.Tensor:
        return score_matrix(block[None], self.verifiers, reference.select(torch.tensor([condition])))[0]


def score_matrix(block: torch.Tensor, verifiers: Sequence[Verifier], reference: Reference) -> torch.Tensor:
    """Raw scores ``(C, n, V)`` of cells ``(C, n, G)``."""
    return torch.stack([verifier(block, reference) for verifier in verifiers], dim=-1)


def _cut(rows: np.ndarray, longest: int) -> list[np.ndarray]:
    return np.split(rows, range(longest, len(rows), longest)) if len(rows) else []


def _folds(cells: Cells, seed: int) -> np.ndarray:
    """Fold of each cell, balanced within every condition and part of the split."""
    folds = np.zeros(len(cells.codes), dtype=int)
    for found in rows_of(cells.codes, len(cells.table)):
        folds[shuffled(cells, found, seed, "cross-fit folds")] = np.arange(len(found)) % N_FOLDS
    return folds
