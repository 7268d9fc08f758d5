"""Pseudo-references for conditions without training cells, and their reliability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from scperturbrl._core import keys
from scperturbrl._core.stats import auroc
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.reference.baselines import TrainingEffects
from scperturbrl.data.reference.cross_fit import N_FOLDS, score_matrix
from scperturbrl.data.reference.material import Material
from scperturbrl.data.reference.networks import Networks
from scperturbrl.data.reference.pseudo_tables import PseudoTables, bank_of
from scperturbrl.data.reference.statistics import ReferenceTable, draw_bank
from scperturbrl.data.reference.stored import read_calibration, read_reference
from scperturbrl.verifiers.calibration import Calibration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.verifiers.base import Reference, Verifier

N_VALIDATED = 24
N_SCORED = 100
MIN_AUROC = 0.55


@dataclass(frozen=True)
class Extended:
    """Training conditions followed by conditions with pseudo-references.

    Attributes
    ----------
    conditions
        Names; those with pseudo-references are last.
    reference, calibration
        Reference and calibration of all of them.
    trust
        One row for each pseudo-reference: ``kind`` ("combination" or "transfer"), ``method``, ``n_validated`` and
        ``r2``, the cross-validated share of the squared effect that it explains, at least 0.
    refused
        Conditions for which no pseudo-reference can be estimated.
    """

    conditions: list[str]
    reference: Reference
    calibration: Calibration
    trust: pd.DataFrame
    refused: list[str]


def extend_reference(
    adata: AnnData, cells: Cells, verifiers: Sequence[Verifier], *, method: str, wanted: Sequence[str]
) -> Extended:
    """Add pseudo-references of the `wanted` conditions to the stored references.

    Only training cells are used. Reliability is measured on training conditions of the same kind, each predicted
    without its own cells: the explained share of the effect, and whether each verifier ranks real above control cells
    with the pseudo-reference.
    """
    return _Extension(adata, cells, verifiers, method).extend(wanted)


class _Extension:
    def __init__(self, adata: AnnData, cells: Cells, verifiers: Sequence[Verifier], method: str) -> None:
        self.adata, self.cells, self.verifiers = adata, cells, list(verifiers)
        self.params: dict[str, Any] = adata.uns[keys.SETUP]["reference"]["params"]
        self.size, self.seed = int(self.params["bank_size"]), int(self.params["seed"])
        self.networks = Networks.of(adata)
        self.known, _ = read_reference(adata, cells)
        self.tables = PseudoTables(cells, TrainingEffects.of(cells), self.networks.pathways[0], method)

    def extend(self, wanted: Sequence[str]) -> Extended:
        names = [name for name in wanted if name not in set(self.known.conditions)]
        covered = [name for name in names if self.tables.covered(name)]
        calibration = read_calibration(self.adata, self.cells, self.known.conditions, self.verifiers)
        refused = [name for name in names if name not in set(covered)]
        if not covered:
            reference = read_reference(self.adata, self.cells, self.verifiers)[1]
            return Extended(self.known.conditions, reference, calibration, self._trust([], {}), refused)
        pseudo = self.tables.table(covered, self.tables.predict(covered))
        reference = self._tensors(_joined(self.known, pseudo), n_known=len(self.known.conditions))
        kinds = {kind: self._validate(kind) for kind in {self._kind(name) for name in covered}}
        trust = self._trust(covered, kinds)
        own = self._calibration(pseudo, reference, calibration, kinds)
        joined = Calibration(*(torch.cat([getattr(calibration, f), getattr(own, f)]) for f in _FIELDS))
        return Extended([*self.known.conditions, *covered], reference, joined, trust, refused)

    def _kind(self, name: str) -> str:
        return "combination" if len(self.cells.table.loc[name, "parts"]) > 1 else "transfer"

    def _trust(self, covered: list[str], kinds: dict[str, _Validation]) -> pd.DataFrame:
        rows = [(self._kind(n), self.tables.method, *kinds[self._kind(n)].summary()) for n in covered]
        return pd.DataFrame(
            rows, index=pd.Index(covered, dtype=object), columns=["kind", "method", "n_validated", "r2"]
        )

    def _tensors(self, table: ReferenceTable, *, n_known: int) -> Reference:
        """The table as tensors, with real cells in the bank of the first `n_known` conditions and stand-ins in the others."""
        use, ranked = self.cells.is_training(), table.ranked_genes()
        real = draw_bank(
            self.cells,
            use,
            conditions=table.conditions[:n_known],
            ranked=ranked[:n_known],
            size=self.size,
            seed=self.seed,
            share=1 - 1 / N_FOLDS,
        )
        rows = range(n_known, len(table.conditions))
        stand_ins = [self.tables.stand_ins(table, row, size=self.size, seed=self.seed) for row in rows]
        bank = np.concatenate([real, bank_of(stand_ins, ranked[n_known:], self.size)])
        material = Material(
            self.cells, use, table, self.networks, bank_size=self.size, seed=self.seed, stand_ins=stand_ins
        )
        return material.complete(table.to_tensors(bank, self.networks.pathways[0]), self.verifiers)

    def _validate(self, kind: str) -> _Validation:
        """Measure the reliability of pseudo-references on training conditions of a kind, without their own cells."""
        usable = [n for n in self.known.conditions if self._kind(n) == kind and self.tables.covered_by_others(n)]
        spaced = np.unique(np.linspace(0, len(usable) - 1, min(len(usable), N_VALIDATED)).round().astype(int))
        names = [usable[i] for i in spaced] if usable else []
        if not names:
            nothing = torch.full((len(self.verifiers),), torch.nan)
            return _Validation(0, 0.0, nothing, nothing)
        table = self.tables.table(names, self.tables.predict(names, [self.tables.without(name) for name in names]))
        truth = self.known.mean_effect[[self.known.conditions.index(name) for name in names]]
        residual = np.square(truth - table.mean_effect).sum(1) / np.square(truth).sum(1)
        reference = self._tensors(table, n_known=0)
        real, control = self._real_scores(table, reference), self._control_scores(table, reference)
        gap = real.nanmedian(1).values - control.nanmedian(1).values
        area = auroc(real.mT, control.mT)
        r2 = float(np.clip(1 - np.median(residual), 0, 1))
        return _Validation(len(names), r2, gap.nanmedian(0).values, area.nanmedian(0).values)

    def _real_scores(self, table: ReferenceTable, reference: Reference) -> torch.Tensor:
        rows = self.cells.rows(table.conditions)
        training = self.cells.is_training()
        found = [np.flatnonzero((self.cells.codes == row) & training) for row in rows]
        drawn = [shuffled(self.cells, own, self.seed, "cells to validate guesses")[:N_SCORED] for own in found]
        return self._scores([self.cells.block(own) for own in drawn], reference)

    def _control_scores(self, table: ReferenceTable, reference: Reference, first: int = 0) -> torch.Tensor:
        numbers = range(len(table.conditions))
        blocks = [self.tables.controls(table, i, half=1, size=N_SCORED, seed=self.seed) for i in numbers]
        return self._scores(blocks, reference, first)

    def _scores(self, blocks: Sequence[np.ndarray], reference: Reference, first: int = 0) -> torch.Tensor:
        scores = torch.full((len(blocks), N_SCORED, len(self.verifiers)), torch.nan)
        for i, block in enumerate(blocks):
            own = reference.select(torch.tensor([first + i]))
            scores[i, : len(block)] = score_matrix(torch.as_tensor(block)[None], self.verifiers, own)[0]
        return scores

    def _calibration(
        self, pseudo: ReferenceTable, reference: Reference, known: Calibration, kinds: dict[str, _Validation]
    ) -> Calibration:
        """0 is the score of control cells; 1 is higher by the gap between real and control cells in validation."""
        zero = self._control_scores(pseudo, reference, len(self.known.conditions)).nanmedian(1).values
        own = [kinds[self._kind(name)] for name in pseudo.conditions]
        one = zero + torch.stack([v.gap for v in own])
        area = torch.stack([v.auroc for v in own])
        trusted = torch.tensor([v.r2 for v in own])[:, None].expand_as(area)
        weight = torch.where((area >= MIN_AUROC) & (one > zero), trusted, 0.0)
        for column, verifier in enumerate(self.verifiers):
            if verifier.safeguard:
                zero[:, column] = known.control_median[:, column].nanmedian()
                one[:, column] = known.real_median[:, column].nanmedian()
                own_trust = trusted if verifier.rests_on_effect else 1.0
                weight[:, column] = torch.where(one > zero, own_trust, 0.0)[:, column]
        return Calibration(zero, one, area, weight)


_FIELDS = ("control_median", "real_median", "auroc", "weight")


@dataclass(frozen=True)
class _Validation:
    """Number of validated conditions, r2, and difference and AUROC ``(V,)`` of real and control cells."""

    n: int
    r2: float
    gap: torch.Tensor
    auroc: torch.Tensor

    def summary(self) -> tuple[int, float]:
        return self.n, self.r2


def _joined(first: ReferenceTable, second: ReferenceTable) -> ReferenceTable:
    values: dict[str, Any] = {}
    for name in ReferenceTable.__dataclass_fields__:
        a, b = getattr(first, name), getattr(second, name)
        values[name] = [*a, *b] if name == "conditions" else np.concatenate([a, b])
    return ReferenceTable(**values)
