"""The cells from which a reference is computed, passed to verifiers that prepare tensors from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.cells.grouping import rows_of
from scperturbrl.data.reference.moments import condition_moments
from scperturbrl.data.reference.statistics import set_response
from scperturbrl.verifiers.prepared import SetResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.reference.networks import Networks
    from scperturbrl.data.reference.statistics import ReferenceTable
    from scperturbrl.verifiers.base import Reference, Verifier
    from scperturbrl.verifiers.prepared import Prepared, ReferenceCells


class Material:
    """The cells marked in `use`, as :class:`~scperturbrl.verifiers.ReferenceCells` describes them.

    Parameters
    ----------
    cells, use
        Expression and conditions, and the usable cells.
    table
        The reference computed from them.
    networks
        Pathways and transcription factors.
    bank_size, seed
        Number of real cells kept for each condition, and seed of all draws.
    stand_ins
        Replacement cells ``(n, G)`` of the last conditions of `table`, whose effects are estimated.
    """

    def __init__(
        self,
        cells: Cells,
        use: np.ndarray,
        table: ReferenceTable,
        networks: Networks,
        *,
        bank_size: int,
        seed: int,
        stand_ins: Sequence[np.ndarray] = (),
    ) -> None:
        self.cells, self.use, self.table, self.seed, self._stand_ins = cells, use, table, seed, list(stand_ins)
        self.bank_size, self.n_cells = bank_size, len(use)
        self.pathways, self.regulons = networks.pathways, networks.regulons
        self.conditions, self.genes = table.conditions, [str(name) for name in cells.genes]
        self.control_mean, self.effect, self.targets = table.control_mean, table.effect, table.targets
        self.statistic, self.padj = table.statistic, table.padj
        self._table_rows = cells.rows(table.conditions)
        self._control_rows = [cells.control_row(row) for row in self._table_rows]
        own = cells.table.iloc[self._table_rows]
        self.perturbations, self.parts = own["perturbation"].to_numpy(), own["parts"].tolist()
        self._groups, self.group = np.unique(own["group"].to_numpy().astype(str), return_inverse=True)
        self.n_groups, number = len(self._groups), np.arange(len(own))
        self.is_pseudo = number >= len(own) - len(self._stand_ins)
        self._members = rows_of(cells.codes, len(cells.table), use)
        self._made: dict[str, tuple[Prepared, np.ndarray]] = {}
        self._kept: dict[Callable[[ReferenceCells], Any], Any] = {}

    def complete(self, reference: Reference, verifiers: Iterable[Verifier]) -> Reference:
        """Return `reference` with all tensors that `verifiers` prepare.

        Raises
        ------
        ValueError
            If a prepared tensor does not have a row for every condition, or two verifiers prepare different tensors of
            one name.
        """
        wanted = {id(item): item for verifier in verifiers for item in verifier.prepares}.values()
        found = {item.name: torch.as_tensor(self[item]) for item in sorted(wanted, key=lambda item: item.name)}
        shared = frozenset(item.name for item in wanted if item.scope == "all")
        return replace(reference, prepared=found, shared=shared)

    def __getitem__(self, item: Prepared) -> np.ndarray:
        """Result of `item`, in single precision if it is floating-point."""
        if item.name not in self._made:
            self._made[item.name] = item, self._checked(item, item.make(self))
        maker, found = self._made[item.name]
        if maker != item:
            msg = f"Two verifiers prepare {item.name!r} in different ways. Rename one, or let both list the same `Prepared`."
            raise ValueError(msg)
        return found

    def _checked(self, item: Prepared, made: Any) -> np.ndarray:
        # a copy, because the result may be an array of the table
        found = made.detach().cpu().numpy() if isinstance(made, torch.Tensor) else np.array(made)
        n = len(self.table.conditions)
        if item.scope != "all" and found.shape[:1] != (n,):
            msg = (
                f"`{item.name}`, which a verifier prepares, has shape {found.shape}; expected {n} rows, one for each condition. "
                "If it is the same for all conditions, give it `scope='all'`."
            )
            raise ValueError(msg)
        return found.astype(np.float32) if found.dtype.kind == "f" else found

    def once(self, function: Callable[[ReferenceCells], Any]) -> Any:
        """Result of `function`, computed once and cached."""
        if function not in self._kept:
            self._kept[function] = function(self)
        return self._kept[function]

    def rows(self, condition: int) -> np.ndarray:
        """Rows of the usable perturbed cells of a condition."""
        return self._members[self._table_rows[condition]][: 0 if self.is_pseudo[condition] else None]

    def control_rows(self, condition: int) -> np.ndarray:
        """Rows of its usable control cells."""
        return self._members[self._control_rows[condition]]

    def group_rows(self, group: int) -> np.ndarray:
        """Rows of all usable cells of a combination of covariates."""
        same = (self.cells.table["group"].astype(str) == self._groups[group]).to_numpy()
        return np.flatnonzero(same[self.cells.codes] & self.use)

    def populations(self) -> list[np.ndarray]:
        """Rows of the usable cells of each condition of the data, controls included."""
        return [rows for rows in self._members if len(rows)]

    def shuffled(self, rows: np.ndarray, stream: str) -> np.ndarray:
        """`rows` in random order."""
        return shuffled(self.cells, rows, self.seed, stream)

    def expression(self, rows: np.ndarray) -> np.ndarray:
        """Expression ``(n, G)``."""
        return self.cells.block(rows)

    def control_variance(self) -> np.ndarray:
        """Variance ``(C, G)`` of the control cells."""
        return condition_moments(self.cells, self.use)[2][self._control_rows]

    def stand_ins(self, condition: int) -> np.ndarray:
        """Cells ``(n, G)`` that replace real ones of a condition with an estimated effect."""
        return self._stand_ins[condition - len(self.table.conditions) + len(self._stand_ins)]

    def response(self, weights: np.ndarray) -> SetResponse:
        """Response to gene sets with `weights` ``(G, P)``."""
        args = (self.cells, self.use, weights, self.table.effect, self.table.control_mean)
        found = set_response(*args, self._table_rows, self._control_rows)
        return SetResponse(*(found[f"pathway_{part}"] for part in ("response", "statistic", "scale")))
