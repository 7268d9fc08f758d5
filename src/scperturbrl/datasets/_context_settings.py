"""Settings of the simulated screens of several cell types, checked before anything is drawn."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from numbers import Real
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl.datasets._settings import Settings, check_integers, check_shares, fail

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class ContextSettings:
    """Parameters of :func:`scperturbrl.datasets.simulated_contexts`, which explains them."""

    n_genes: int
    n_singles: int
    n_lineages: int
    n_cell_types: int
    n_cells_per_condition: int
    n_controls: int
    n_programs: int
    n_pathways: int
    fraction_shared: float
    fraction_scaled: float
    fraction_nonresponding: float
    effect_size: float
    target_effect: float
    library_size: float
    depth_ratio: float | tuple[float, float]
    dispersion: float
    seed: int

    def __post_init__(self) -> None:
        lowest = {"n_lineages": 1, "n_cell_types": 1, "n_cells_per_condition": 1, "n_controls": 1}
        check_integers(self, lowest)
        if self.n_lineages > len(ascii_uppercase):
            fail("n_lineages", self.n_lineages, f"must be at most {len(ascii_uppercase)}, the letters of the alphabet")
        check_shares(self, ["fraction_shared", "fraction_scaled"])
        if self.fraction_shared + self.fraction_scaled > 1 + 1e-9:
            total = self.fraction_shared + self.fraction_scaled
            msg = (
                f"`fraction_shared` and `fraction_scaled` add up to {total:g}; they must add up to at most 1; the rest "
                "is specific."
            )
            raise ValueError(msg)
        self._check_depth()
        _ = self.screen

    @property
    def lineages(self) -> list[str]:
        """Lineage of every cell type."""
        return [letter for letter in ascii_uppercase[: self.n_lineages] for _ in range(self.n_cell_types)]

    @property
    def cell_types(self) -> list[str]:
        """Names such as ``A1``, the first cell type of lineage ``A``."""
        return [f"{lineage}{i % self.n_cell_types + 1}" for i, lineage in enumerate(self.lineages)]

    @property
    def depth_range(self) -> tuple[float, float]:
        """Smallest and largest ratio of the depth of treated cells to that of controls."""
        ratio = self.depth_ratio
        return (ratio[0], ratio[1]) if isinstance(ratio, list | tuple) else (ratio, ratio)

    @property
    def screen(self) -> Settings:
        """The settings of the simulator for all cell types together."""
        n_types = len(self.cell_types)
        return Settings(
            n_genes=self.n_genes,
            n_singles=self.n_singles,
            n_doubles=0,
            n_cells_per_condition=self.n_cells_per_condition * n_types,
            n_controls=self.n_controls * n_types,
            cell_types=self.cell_types,
            n_programs=self.n_programs,
            n_pathways=self.n_pathways,
            fraction_additive=1.0,
            fraction_buffered=0.0,
            fraction_epistatic=0.0,
            fraction_nonresponding=self.fraction_nonresponding,
            effect_size=self.effect_size,
            target_effect=self.target_effect,
            target_coupling=0.0,
            doses=None,
            library_size=self.library_size,
            dispersion=self.dispersion,
            seed=self.seed,
        )

    def to_uns(self) -> dict[str, Any]:
        """Return the settings as plain values that h5ad and zarr can hold."""
        return asdict(self) | {"depth_ratio": np.asarray(self.depth_ratio, dtype=float)}

    def _check_depth(self) -> None:
        ratio = self.depth_ratio
        numbers: Sequence[Any] = ratio if isinstance(ratio, list | tuple) else [ratio]
        valid = all(isinstance(x, Real) and not isinstance(x, bool) and float(x) > 0 and isfinite(x) for x in numbers)
        if not valid or (isinstance(ratio, list | tuple) and (len(ratio) != 2 or ratio[0] > ratio[1])):
            fail("depth_ratio", ratio, "must be a positive number, or the lowest and the highest of a range")
