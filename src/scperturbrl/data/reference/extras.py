"""What some verifiers need beyond means and tests: components, landmarks, an identity model, rivals, regulons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.reference.statistics import condition_moments, set_response
from scperturbrl.verifiers._pathway_activity import standardise_network
from scperturbrl.verifiers._plausibility import cell_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.reference.statistics import ReferenceTable

N_COMPONENTS = 30
N_FOR_COMPONENTS = 4000
N_LANDMARKS = 256
N_TYPICAL = 500
N_FOR_IDENTITY = 1000
QUIET = 0.5
"""False discovery rate above which a gene counts as left alone."""

MIN_QUIET = 10
SMALLEST_SD = (0.05, 0.01, 0.0)
"""Of log total, share detected and distance: cells normalised over the very same genes all have the same total."""


@dataclass
class Support:
    """Computes the optional fields of a reference, from the cells marked in `use` only.

    Attributes
    ----------
    cells, use
        Expression and conditions, and which cells may be looked at.
    table
        The reference that the fields belong to.
    regulons, factors
        ``(n_genes, F)`` weights of the transcription factors, and their names.
    bank_size, seed
        Real cells kept per condition, and the seed of all draws.
    """

    cells: Cells
    use: np.ndarray
    table: ReferenceTable
    regulons: np.ndarray
    factors: list[str]
    bank_size: int
    seed: int

    def fields(self, needs: Iterable[str]) -> dict[str, Any]:
        """Those of the optional fields that are among `needs`, as tensors."""
        makers: dict[str, Callable[[], np.ndarray]] = {
            "targets": self._targets,
            "spread": self._spread,
            "quiet": self._quiet,
            "all_effects": lambda: self.table.effect,
            "rivals": self._rivals,
            "projection": lambda: self.projection,
            "bank_points": self._bank_points,
            "group": lambda: self._group,
            "landmarks": lambda: self._landmarks_and_typical[0],
            "typical": lambda: self._landmarks_and_typical[1],
            "identity_weight": lambda: self._identity[0],
            "identity_bias": lambda: self._identity[1],
            "regulon": lambda: standardise_network(torch.as_tensor(self.regulons)).numpy(),
            "regulon_response": lambda: self.regulon_table["pathway_response"],
            "regulon_weight": self._regulon_weight,
            "regulon_scale": lambda: self.regulon_table["pathway_scale"],
        }
        made = {name: makers[name]() for name in sorted(set(needs) & set(makers))}
        dtype = lambda value: np.float32 if value.dtype.kind == "f" else value.dtype
        return {name: torch.as_tensor(np.array(value, dtype=dtype(value))) for name, value in made.items()}

    @cached_property
    def _rows(self) -> list[int]:
        return self.cells.rows(self.table.conditions)

    @cached_property
    def _controls(self) -> list[int]:
        return [self.cells.control_row(row) for row in self._rows]

    @cached_property
    def _group_names(self) -> list[str]:
        groups = self.cells.table["group"].to_numpy()
        return sorted({str(groups[row]) for row in self._rows})

    @cached_property
    def _group(self) -> np.ndarray:
        groups = self.cells.table["group"].to_numpy()
        return np.array([self._group_names.index(str(groups[row])) for row in self._rows])

    def _of_group(self, number: int) -> np.ndarray:
        """Usable cells of a combination of covariates, in random order."""
        same = (self.cells.table["group"].astype(str) == self._group_names[number]).to_numpy()
        found = np.flatnonzero(same[self.cells.codes] & self.use & ~self._for_components)
        return shuffled(self.cells, found, self.seed, "cells of a context")

    @cached_property
    def _for_components(self) -> np.ndarray:
        """Up to half of the cells of every condition, from which the components are made and nothing else.

        Components follow the noise of the cells they are made from, which therefore lie further apart on them than other
        cells do. Distances to such cells would be too large for any new cell.
        """
        chosen = np.zeros(len(self.use), dtype=bool)
        share = min(0.5, N_FOR_COMPONENTS / max(int(self.use.sum()), 1))
        for row in np.unique(self.cells.codes[self.use]):
            found = np.flatnonzero((self.cells.codes == row) & self.use)
            drawn = shuffled(self.cells, found, self.seed, "cells for components")
            chosen[drawn[: round(share * len(found))]] = True
        return chosen

    def _targets(self) -> np.ndarray:
        width = max(1, int(self.table.targets.sum(1).max(initial=0)))
        found = np.full((len(self.table.conditions), width), -1)
        for row, mask in zip(found, self.table.targets, strict=True):
            genes = np.flatnonzero(mask)
            row[: len(genes)] = genes
        return found

    def _spread(self) -> np.ndarray:
        _, _, variance = condition_moments(self.cells, self.use)
        return np.sqrt(variance[self._controls])

    def _quiet(self) -> np.ndarray:
        quiet = (self.table.padj > QUIET) & ~self.table.targets
        return quiet & (quiet.sum(1, keepdims=True) >= MIN_QUIET)

    def _rivals(self) -> np.ndarray:
        label = self.cells.table["perturbation"].to_numpy()[self._rows]
        return (self._group[:, None] == self._group) & (label[:, None] != label)

    @cached_property
    def projection(self) -> np.ndarray:
        """Loadings ``(G, d)`` of about 4,000 of the cells, or of half of them."""
        from sklearn.decomposition import PCA

        # in an order of their own, because rounding in the decomposition follows the order of rows
        found = np.flatnonzero(self._for_components)
        block = self.cells.block(shuffled(self.cells, found, self.seed, "order of cells for components"))
        n = min(N_COMPONENTS, *block.shape)
        return PCA(n, svd_solver="randomized", random_state=0).fit(block).components_.T.astype(np.float32)

    def _bank_points(self) -> np.ndarray:
        bank = np.full((len(self._rows), self.bank_size, self.projection.shape[1]), np.nan, dtype=np.float32)
        for i, row in enumerate(self._rows):
            found = np.flatnonzero((self.cells.codes == row) & self.use & ~self._for_components)
            drawn = shuffled(self.cells, found, self.seed, "bank on components")[: self.bank_size]
            bank[i, : len(drawn)] = self.cells.block(drawn) @ self.projection
        return bank

    @cached_property
    def _landmarks_and_typical(self) -> tuple[np.ndarray, np.ndarray]:
        projection = torch.as_tensor(self.projection)
        landmarks = np.full((len(self._group_names), N_LANDMARKS, projection.shape[1]), np.nan, dtype=np.float32)
        typical = np.empty((len(self._group_names), 3, 2), dtype=np.float32)
        for number in range(len(self._group_names)):
            found = self._of_group(number)
            n = min(N_LANDMARKS, len(found) // 2)
            landmarks[number, :n] = self.cells.block(found[:n]) @ self.projection
            others = torch.as_tensor(self.cells.block(found[n : n + N_TYPICAL]))
            values = cell_properties(others[None], projection, torch.as_tensor(landmarks[None, number]))[0].numpy()
            typical[number, :, 0] = values.mean(0)
            smallest = np.maximum(SMALLEST_SD, [0, 0, 0.05 * values[:, 2].mean()])
            typical[number, :, 1] = np.maximum(values.std(0, ddof=1), smallest)
        return landmarks, typical

    @cached_property
    def _identity(self) -> tuple[np.ndarray, np.ndarray]:
        n_groups = len(self._group_names)
        if n_groups < 2:
            return np.zeros((len(self.cells.genes), 0), dtype=np.float32), np.zeros(0, dtype=np.float32)
        from sklearn.linear_model import LogisticRegression

        rows = [self._of_group(number)[:N_FOR_IDENTITY] for number in range(n_groups)]
        points = self.cells.block(np.concatenate(rows)) @ self.projection
        label = np.repeat(np.arange(n_groups), [len(row) for row in rows])
        model = LogisticRegression(class_weight="balanced", max_iter=5000).fit(points, label)
        # with two classes the model holds the log odds of the second one
        weight, bias = model.coef_, model.intercept_
        if n_groups == 2:
            weight, bias = np.vstack([0 * weight, weight]), np.append(0.0, bias)
        return (self.projection @ weight.T).astype(np.float32), bias.astype(np.float32)

    @cached_property
    def regulon_table(self) -> dict[str, np.ndarray]:
        """Response, statistic and scale of the transcription factors."""
        args = (self.cells, self.use, self.regulons, self.table.effect, self.table.control_mean)
        return set_response(*args, self._rows, self._controls)

    def _regulon_weight(self) -> np.ndarray:
        response, statistic = self.regulon_table["pathway_response"], self.regulon_table["pathway_statistic"]
        parts = self.cells.table["parts"].iloc[self._rows]
        targeted = np.array([[factor in own for factor in self.factors] for own in parts], dtype=bool)
        targeted = targeted.reshape(response.shape)
        return np.where((np.abs(statistic) > 2) & ~targeted, np.abs(response), 0)
