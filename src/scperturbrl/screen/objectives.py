"""Objectives of a screen: values of predicted effects or of cells, higher is better."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Effects:
    """Effects of n conditions of one context.

    Attributes
    ----------
    values
        ``(n, G)``
    group
        Index of the context.
    control
        ``(G,)`` mean control profile.
    additive
        ``(n, G)`` sums of the effects of the parts, NaN if one was not measured alone.
    noise, departure_noise
        ``(n,)`` sampling variance of an effect, and of its difference from that sum, means over genes; 0 for
        predictions.
    """

    values: np.ndarray
    group: int
    control: np.ndarray
    additive: np.ndarray | None = None
    noise: np.ndarray | float = 0.0
    departure_noise: np.ndarray | float = 0.0


class Term(Protocol):
    """One term of an objective."""

    @property
    def name(self) -> str:
        """Of the term."""
        ...

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value that there can be."""
        ...

    def of_effects(self, effects: Effects) -> np.ndarray:
        """Value ``(n,)`` of each effect."""
        ...

    def of_cells(self, cells: np.ndarray, effects: Effects) -> np.ndarray:
        """Value ``(m,)`` of each cell ``(m, G)`` of a condition with the one effect in `effects`."""
        ...


class _OfEffects:
    """A term of effects; the value of a cell is that of its difference from the mean control cell."""

    bounds: ClassVar[tuple[float, float]] = (-np.inf, np.inf)

    def of_effects(self, effects: Effects) -> np.ndarray:
        raise NotImplementedError

    def of_cells(self, cells: np.ndarray, effects: Effects) -> np.ndarray:
        own = cells - effects.control
        additive = None if effects.additive is None else np.broadcast_to(effects.additive, own.shape)
        return self.of_effects(Effects(own, effects.group, effects.control, additive))


@dataclass(frozen=True)
class Along(_OfEffects):
    """Change along a direction of gene space: the activity of a pathway, or the score of a signature.

    Attributes
    ----------
    name
        Of the term.
    weights
        ``(G,)``
    """

    name: str
    weights: np.ndarray

    @classmethod
    def activity(cls, name: str, weights: np.ndarray) -> Along:
        """Slope of the change of a gene on its weight in a gene set: the coefficient of a univariate linear model."""
        centred = weights - weights.mean()
        return cls(name, centred / max(float(np.square(centred).sum()), 1e-12))

    @classmethod
    def signature(cls, name: str, up: np.ndarray, down: np.ndarray) -> Along:
        """Mean change of the genes in `up` minus that of the genes in `down`, both ``(G,)`` booleans."""
        return cls(name, up / max(up.sum(), 1) - down / max(down.sum(), 1))

    def of_effects(self, effects: Effects) -> np.ndarray:
        """Projection ``(n,)`` of each effect."""
        return np.asarray(effects.values @ self.weights.astype(effects.values.dtype))


@dataclass(frozen=True)
class Alike(_OfEffects):
    """Cosine of an effect and a target effect: towards a population, or like a named condition.

    Attributes
    ----------
    name
        Of the term.
    wanted
        ``(K, G)`` the target effect in each context.
    """

    name: str
    wanted: np.ndarray
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def of_effects(self, effects: Effects) -> np.ndarray:
        """Cosine ``(n,)``; 0 where an effect is 0."""
        target = self.wanted[effects.group].astype(effects.values.dtype)
        size = np.linalg.norm(effects.values, axis=1) * np.linalg.norm(target)
        return np.asarray(effects.values @ target / np.maximum(size, 1e-12))


@dataclass(frozen=True)
class Size(_OfEffects):
    """Size of the effect: root mean square over genes, without the noise of measuring."""

    name: str = "size"
    bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)

    def of_effects(self, effects: Effects) -> np.ndarray:
        """Size ``(n,)`` of each effect, negative if it is less than noise alone would be."""
        return _root(np.square(effects.values).mean(1) - effects.noise)


@dataclass(frozen=True)
class Synergy(_OfEffects):
    """Departure from the sum of the effects of the parts: root mean square over genes without noise; NaN for singles."""

    name: str = "synergy"
    bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)

    def of_effects(self, effects: Effects) -> np.ndarray:
        """Departure ``(n,)`` of each effect, negative if it is less than noise alone would be."""
        if effects.additive is None:
            return np.full(len(effects.values), np.nan)
        return _root(np.square(effects.values - effects.additive).mean(1) - effects.departure_noise)


def _root(square: np.ndarray) -> np.ndarray:
    """Square root that keeps the sign, so that a size of nothing is as often below 0 as above."""
    return np.asarray(np.sign(square) * np.sqrt(np.abs(square)))


@dataclass(frozen=True)
class OfCells:
    """Mean of a function over cells. Before cells are generated, control cells shifted by the effect are used.

    Attributes
    ----------
    name
        Of the term.
    function
        Function of cells ``(m, G)`` that returns values ``(m,)``.
    controls
        A few control cells ``(m, G)`` of each context.
    gaps
        Whether the function may have no value for a cell.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    controls: Sequence[np.ndarray]
    gaps: bool = False
    bounds: ClassVar[tuple[float, float]] = (-np.inf, np.inf)

    def of_effects(self, effects: Effects) -> np.ndarray:
        """Mean ``(n,)`` over the shifted control cells."""
        own = self.controls[effects.group]
        return np.array([self._checked(np.maximum(own + effect, 0)).mean() for effect in effects.values])

    def of_cells(self, cells: np.ndarray, effects: Effects) -> np.ndarray:
        """The function itself."""
        del effects
        return self._checked(cells)

    def _checked(self, cells: np.ndarray) -> np.ndarray:
        found = np.asarray(self.function(cells), dtype=float)
        if found.shape != (len(cells),):
            msg = (
                f"The objective {self.name!r} gave values of shape {found.shape} for {len(cells)} cells; one number "
                "per cell is needed."
            )
            raise ValueError(msg)
        if not self.gaps and not np.isfinite(found).all():
            msg = f"The objective {self.name!r} gave {found[~np.isfinite(found)][0]} for a cell; one finite number per cell is needed."
            raise ValueError(msg)
        return found


@dataclass(frozen=True)
class Objective:
    """Terms with their weights.

    Attributes
    ----------
    terms
        T of them.
    weights
        ``(T,)`` weights; negative to minimise.
    scales
        ``(T,)`` standard deviation of each over the training conditions, by which several are divided; 1 for a single
        term.
    """

    terms: Sequence[Term]
    weights: np.ndarray
    scales: np.ndarray

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value that there can be: no size is below 0, no cosine above 1."""
        factors = (self.weights / self.scales).tolist()
        ends = [
            sorted(w * end for end in term.bounds) if w else [0.0, 0.0]
            for w, term in zip(factors, self.terms, strict=True)
        ]
        return sum(low for low, _ in ends), sum(high for _, high in ends)

    def of_effects(self, effects: Effects) -> np.ndarray:
        """Value ``(n, 1 + T)`` of each effect: all together, then each term in its own unit."""
        return self._joined([term.of_effects(effects) for term in self.terms])

    def of_cells(self, cells: np.ndarray, effects: Effects) -> np.ndarray:
        """The same ``(m, 1 + T)`` of the cells of one condition."""
        return self._joined([term.of_cells(cells, effects) for term in self.terms])

    def of_population(self, cells: np.ndarray, effects: Effects) -> np.ndarray:
        """Value ``(1 + T,)`` of a condition with `cells`: that of their mean effect, or the mean over cells.

        The noise of the mean of `cells` is added to the noise in `effects`, which is that of everything else.
        """
        noise = _noise_of_mean(cells) if any(isinstance(term, Size | Synergy) for term in self.terms) else 0.0
        own = replace(
            effects,
            values=cells.mean(0, keepdims=True) - effects.control,
            noise=effects.noise + noise,
            departure_noise=effects.departure_noise + noise,
        )
        values = [
            term.of_cells(cells, own).mean(keepdims=True) if isinstance(term, OfCells) else term.of_effects(own)
            for term in self.terms
        ]
        return np.asarray(self._joined(values)[0])

    def _joined(self, values: list[np.ndarray]) -> np.ndarray:
        own = np.column_stack(values)
        return np.column_stack([own @ (self.weights / self.scales), own])


def _noise_of_mean(cells: np.ndarray) -> float:
    # the noise of a single cell is unknown
    return float(cells.var(0, ddof=1).mean()) / len(cells) if len(cells) > 1 else float("nan")
