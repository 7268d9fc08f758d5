"""Settings of the simulator, checked before anything is drawn."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import comb, isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl.datasets._names import CONTROL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MIN_GENES = 40


@dataclass(frozen=True)
class Settings:
    """Parameters of :func:`scperturbrl.datasets.simulated_perturbseq`, which explains them."""

    n_genes: int
    n_singles: int
    n_doubles: int
    n_cells_per_condition: int
    n_controls: int
    cell_types: Sequence[str]
    n_programs: int
    n_pathways: int
    fraction_additive: float
    fraction_buffered: float
    fraction_epistatic: float
    fraction_nonresponding: float
    effect_size: float
    target_effect: float
    target_coupling: float
    doses: Sequence[float] | None
    library_size: float
    dispersion: float
    seed: int

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_numbers()
        self._check_fractions()
        self._check_cell_types()
        self._check_doses()

    @property
    def n_response_programs(self) -> int:
        """Programs that perturbations act on; the others vary between unperturbed cells."""
        return self.n_programs - self.n_programs // 3

    def to_uns(self) -> dict[str, Any]:
        """Return the settings as plain values that h5ad and zarr can hold."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: np.asarray(value) if _is_sequence(value) else value for name, value in values.items()}

    def _check_counts(self) -> None:
        lowest = {
            "n_genes": _MIN_GENES,
            "n_singles": 1,
            "n_doubles": 0,
            "n_cells_per_condition": 1,
            "n_controls": 1,
            "n_programs": 3,
            "n_pathways": 1,
            "seed": 0,
        }
        check_integers(self, lowest)
        if self.n_singles > self.n_genes // 2:
            fail("n_singles", self.n_singles, f"must be at most half of `n_genes`={self.n_genes}: singles target genes")
        if self.n_doubles > comb(self.n_singles, 2):
            pairs = comb(self.n_singles, 2)
            fail("n_doubles", self.n_doubles, f"must be at most {pairs}, the pairs of `n_singles`={self.n_singles}")
        if self.n_pathways > self.n_programs:
            fail("n_pathways", self.n_pathways, f"must be at most `n_programs`={self.n_programs}")

    def _check_numbers(self) -> None:
        for name in ("effect_size", "target_effect", "library_size", "dispersion"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
                fail(name, value, "must be a finite number")
        if self.effect_size < 0:
            fail("effect_size", self.effect_size, "must not be negative")
        for name in ("library_size", "dispersion"):
            if getattr(self, name) <= 0:
                fail(name, getattr(self, name), "must be positive")

    def _check_fractions(self) -> None:
        interactions = ("fraction_additive", "fraction_buffered", "fraction_epistatic")
        check_shares(self, [*interactions, "fraction_nonresponding", "target_coupling"])
        total = sum(getattr(self, name) for name in interactions)
        if total > 1 + 1e-9:
            names = ", ".join(f"`{name}`" for name in interactions)
            msg = f"{names} add up to {total:g}; they must add up to at most 1, the rest is neomorphic."
            raise ValueError(msg)

    def _check_cell_types(self) -> None:
        types = self.cell_types
        valid = _is_sequence(types) and len(types) > 0 and all(isinstance(name, str) and name for name in types)
        if not valid or len(set(types)) < len(types):
            fail("cell_types", types, "must be one or more different names")
        if any("/" in name for name in types):
            fail("cell_types", types, "must not contain '/', which h5ad and zarr take for a folder")
        if CONTROL in types:
            fail("cell_types", types, f"must not contain {CONTROL!r}, the label of unperturbed cells")

    def _check_doses(self) -> None:
        if self.doses is None:
            return
        doses = self.doses
        numbers = _is_sequence(doses) and len(doses) > 0 and all(isinstance(value, Real) for value in doses)
        if not numbers or not all(0 < value < float("inf") for value in doses):
            fail("doses", doses, "must be None or positive numbers; dose 0 is kept for control cells")
        if len({f"{value:g}" for value in doses}) < len(doses):
            fail("doses", doses, "must differ within six digits")


def _is_sequence(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def check_integers(settings: object, lowest: Mapping[str, int]) -> None:
    """Raise ValueError unless these attributes are integers of at least so much."""
    for name, bound in lowest.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < bound:
            fail(name, value, f"must be an integer of at least {bound}")


def check_shares(settings: object, names: Sequence[str]) -> None:
    """Raise ValueError unless these attributes lie between 0 and 1."""
    for name in names:
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
            fail(name, value, "must lie between 0 and 1")


def fail(name: str, value: object, demand: str) -> None:
    """Raise ValueError that names the argument, its value and what is expected."""
    msg = f"`{name}`={value!r}: {demand}."
    raise ValueError(msg)
