"""Verifiers with their references and calibration, applied to cells condition by condition."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from scperturbrl._core import keys
from scperturbrl._core.machine.threads import in_threads
from scperturbrl.data.cells.grouping import rows_of
from scperturbrl.data.reference.cross_fit import score_matrix
from scperturbrl.data.reference.pseudo_references import extend_reference
from scperturbrl.data.reference.side_by_side import AT_ONCE, side_by_side
from scperturbrl.data.reference.stored import check_reference, cross_fit, read_calibration, read_reference
from scperturbrl.data.scoring.percentile import Percentile
from scperturbrl.verifiers.calibration import Calibration, calibrate, combine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.reference.cross_fit import CrossFit
    from scperturbrl.data.scoring.targets import ScoredCells
    from scperturbrl.verifiers.base import Reference, Verifier

CHUNK = 2048


class Found(NamedTuple):
    """Raw scores ``(n, V)``, combined reward ``(n,)`` and percentile ``(n,)``; NaN where there is no reference."""

    scores: np.ndarray
    rewards: np.ndarray
    percentiles: np.ndarray


@dataclass
class Scorer:
    """Scores cells of the conditions that have a reference.

    Attributes
    ----------
    conditions
        Names of these conditions.
    verifiers, weights
        V verifiers and their weights ``(V,)``.
    calibration
        Calibration of the conditions and verifiers.
    reference
        The reference as tensors, or None if only cross-fitted ones are to be used.
    fitted
        Cross-fitted references, for cells from which the reference was computed, and for percentiles.
    percentile
        Whether to compute percentiles.
    trust
        Pseudo-references with their reliability, if there are any.
    """

    conditions: list[str]
    verifiers: Sequence[Verifier]
    weights: torch.Tensor
    calibration: Calibration
    reference: Reference | None
    fitted: CrossFit | None
    percentile: bool = False
    trust: pd.DataFrame | None = None

    @classmethod
    def training(
        cls,
        adata: AnnData,
        cells: Cells,
        verifiers: Sequence[Verifier],
        weights: torch.Tensor,
        *,
        observed: bool,
        percentile: bool,
    ) -> Scorer:
        """Score against the stored reference; `observed` cells against cross-fitted ones."""
        table, reference = read_reference(adata, cells, verifiers)
        fitted = None
        if observed or percentile:
            params = adata.uns[keys.SETUP]["reference"]["params"]
            fitted = cross_fit(adata, cells, cells.is_training(), table.conditions, verifiers, params)
        calibration = read_calibration(adata, cells, table.conditions, verifiers, fitted)
        return cls(table.conditions, verifiers, weights, calibration, reference, fitted, percentile)

    @classmethod
    def observed(
        cls, adata: AnnData, cells: Cells, verifiers: Sequence[Verifier], weights: torch.Tensor, *, percentile: bool
    ) -> Scorer:
        """Score against the measured cells of each condition, of any split."""
        check_reference(adata, cells)
        params = adata.uns[keys.SETUP]["reference"]["params"]
        everything = np.ones(len(cells.codes), dtype=bool)
        conditions = observed_conditions(cells)
        fitted = cross_fit(adata, cells, everything, conditions, verifiers, params)
        return cls(conditions, verifiers, weights, fitted.calibration(), None, fitted, percentile)

    def with_pseudo_references(self, adata: AnnData, cells: Cells, target: ScoredCells, *, method: str) -> Scorer:
        """Add pseudo-references for those conditions of `target` that have no reference."""
        new = target.table[~target.table.index.isin(cells.table.index)]
        table = pd.concat([cells.table, new])
        wanted = target.table.index[~target.table["is_control"].to_numpy(dtype=bool)]
        extended = extend_reference(
            adata, dataclasses.replace(cells, table=table), self.verifiers, method=method, wanted=list(wanted)
        )
        return dataclasses.replace(
            self,
            conditions=extended.conditions,
            reference=extended.reference,
            calibration=extended.calibration,
            trust=extended.trust,
        )

    def run(self, target: ScoredCells, *, memory: int) -> Found:
        """Score all cells whose condition has a reference, in `memory` bytes if they are not in memory."""
        n = len(target.conditions)
        found = Found(
            np.full((n, len(self.verifiers)), np.nan, dtype=np.float32), np.full(n, np.nan), np.full(n, np.nan)
        )
        ranks = Percentile(self.fitted, self.calibration, self.weights) if self.percentile and self.fitted else None
        place = {name: number for number, name in enumerate(self.conditions)}
        numbers = np.array([place.get(name, -1) for name in target.conditions], dtype=int)
        for window in target.windows(memory):
            scored = window[numbers[window] >= 0]
            found.scores[scored] = self._raw(target, scored, numbers[scored])
            if ranks is not None:
                known = scored[numbers[scored] < len(ranks.fitted.conditions)]
                found.percentiles[known] = self._percentiles(ranks, target, known, numbers[known])
        known = np.flatnonzero(numbers >= 0)
        found.rewards[known] = self._rewards(torch.as_tensor(found.scores[known]), numbers[known])
        return found

    def _raw(self, target: ScoredCells, index: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Raw scores ``(n, V)`` of the cells at `index`, each for its condition in `numbers`."""
        raw = np.empty((len(index), len(self.verifiers)), dtype=np.float32)
        itself = np.zeros(len(index), dtype=bool)
        if target.observed and self.fitted is not None:
            itself = numbers < len(self.fitted.conditions)
            raw[itself] = self.fitted.score_real(index[itself], numbers[itself])
        units = list(side_by_side(self._chunks(target, numbers, ~itself), most=min(AT_ONCE, target.chunk)))

        def score(unit: tuple[np.ndarray, np.ndarray]) -> torch.Tensor:
            of, places = unit
            block = target.block(index[places.ravel()]).reshape(*places.shape, -1)
            return self._judged(torch.as_tensor(block), torch.as_tensor(of))

        for (_, places), found in zip(units, in_threads(score, units), strict=True):
            raw[places] = found
        return raw

    def _judged(self, block: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        """Raw scores ``(c, n, V)`` of cells ``(c, n, G)`` not used for references, for the conditions `of`."""
        if self.reference is None and self.fitted is not None:
            return self.fitted.score_blocks(block, of)
        assert self.reference is not None
        return score_matrix(block, self.verifiers, self.reference.select(of))

    def _percentiles(
        self, ranks: Percentile, target: ScoredCells, index: np.ndarray, numbers: np.ndarray
    ) -> np.ndarray:
        found = np.empty(len(index))
        for number, places in self._chunks(target, numbers):
            own = index[places]
            found[places] = ranks.of_real(own, number) if target.observed else ranks.of_block(target.block(own), number)
        return found

    def _chunks(
        self, target: ScoredCells, numbers: np.ndarray, use: np.ndarray | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each condition with indices of its cells in `numbers`, in chunks that can be processed together."""
        most = min(CHUNK, target.chunk)
        for number, rows in enumerate(rows_of(numbers, len(self.conditions), use)):
            if len(rows):
                yield from ((number, part) for part in np.array_split(rows, max(1, len(rows) // most)))

    def _rewards(self, raw: torch.Tensor, numbers: np.ndarray) -> np.ndarray:
        own = self.calibration.select(torch.as_tensor(numbers))
        return combine(calibrate(raw[:, None], own), own, self.weights)[:, 0].numpy()

    def skipped(self) -> dict[str, list[str]]:
        """Conditions in which a verifier cannot discriminate, for each verifier with any."""
        weight = self.calibration.weight.numpy()
        names = np.asarray(self.conditions)
        without = {v.name: names[weight[:, i] == 0].tolist() for i, v in enumerate(self.verifiers)}
        return {name: found for name, found in without.items() if found}


def observed_conditions(cells: Cells, min_cells: int = 6) -> list[str]:
    """Names of the perturbed conditions with at least `min_cells` cells, regardless of their split."""
    count = np.bincount(cells.codes, minlength=len(cells.table))
    return list(cells.table.index[(count >= min_cells) & ~cells.table["is_control"].to_numpy()])
