"""Verifiers, and the reference data that they may use."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scperturbrl._core.machine.memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scperturbrl.verifiers.prepared import Prepared

OF_EFFECT = frozenset({"effect", "ranked_genes", "n_significant", "bank", "pathway_response", "pathway_weight"})
"""Fields of :class:`Reference` that depend on the effect of the condition, which is estimated if it has no cells."""


@dataclass(frozen=True)
class Reference:
    """Reference data of C conditions, computed from real cells, as tensors.

    The cells are training cells, except in an evaluation, which builds references of held-out cells.

    Attributes
    ----------
    conditions
        Names of the C conditions.
    control_mean
        ``(C, G)`` mean log-normalised expression of the control cells of the condition's covariates.
    effect
        ``(C, G)`` shrunk mean effect: expression of perturbed minus control cells, in log-normalised units.
    ranked_genes
        ``(C, R)`` indices of the R genes with the largest absolute test statistic, largest first.
        The genes that the condition itself targets are left out.
    n_significant
        ``(C,)`` number of `ranked_genes` that are significant at the false discovery rate.
    bank
        ``(C, M, K)`` real perturbed cells at the first K of `ranked_genes`, log-normalised. K <= R.
        Rows of NaN fill the bank of a condition with fewer than M cells.
    network
        ``(G, P)`` pathway weights, each column centred and scaled to unit norm. P is 0 without a network.
    pathway_response
        ``(C, P)`` correlation of the condition's effect with each column of `network`, in [-1, 1].
    pathway_weight
        ``(C, P)`` absolute response where it is significant, 0 elsewhere.
    pathway_scale
        ``(C, P)`` standard deviation of the same correlation over single control cells.
    prepared
        Additional tensors computed for the verifiers in use, by name; each is also an attribute. See
        :class:`~scperturbrl.verifiers.Prepared`.
    shared
        Names in `prepared` that are the same for all conditions.
    """

    conditions: tuple[str, ...]
    control_mean: Tensor
    effect: Tensor
    ranked_genes: Tensor
    n_significant: Tensor
    bank: Tensor
    network: Tensor
    pathway_response: Tensor
    pathway_weight: Tensor
    pathway_scale: Tensor
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.conditions)

    def __getattr__(self, name: str) -> Tensor:
        # called only for names that are not fields; copying requests some of these before fields are set
        if not name.startswith("_") and name in vars(self).get("prepared", {}):
            return self.prepared[name]
        msg = f"The reference has no `{name}`. List it in `prepares` of the verifier, so that it is computed."
        raise AttributeError(msg)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)} | dict(self.prepared)

    def replace(self, **tensors: Tensor) -> Reference:
        """Return the reference with the given tensors replaced."""
        own = {name: value for name, value in tensors.items() if name in FIELDS}
        prepared = {name: value for name, value in tensors.items() if name not in FIELDS}
        return replace(self, **own, prepared={**self.prepared, **prepared})  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> Reference:
        """Return the reference with every tensor on `device`."""
        return self.replace(**{name: value.to(device) for name, value in self.tensors().items()})

    def select(self, index: Tensor) -> Reference:
        """Return the reference of the conditions at `index`, a 1-d tensor of integers that may repeat."""
        whole = {"network", *self.shared}
        chosen = {name: value[index] for name, value in self.tensors().items() if name not in whole}
        return replace(self.replace(**chosen), conditions=tuple(self.conditions[i] for i in index.tolist()))


FIELDS = frozenset(item.name for item in fields(Reference)) - {"conditions", "prepared", "shared"}
"""The tensors that every reference has."""


@dataclass(frozen=True)
class Verifier:
    """A function from cells to scores, with its description, range and requirements.

    Attributes
    ----------
    name
        Identifier, a Python name; the column in ``obsm["score_<key>"]``.
    score
        ``score(cells, reference)`` with log-normalised `cells` of shape ``(C, n, G)``, n cells for each of the
        C conditions of `reference`, returns raw scores ``(C, n)``. Higher is better; NaN means that the
        reference lacks data for the condition.
    label
        Sentence-case name for plots.
    description
        One sentence: what it measures and against what.
    range
        Smallest and largest possible raw score.
    needs
        Fields of :class:`Reference` that it reads.
    prepares
        Additional tensors computed from the reference cells; see :class:`~scperturbrl.verifiers.Prepared`.
    differentiable
        Whether gradients with respect to `cells` are defined.
    safeguard
        Whether it tests if the cell is plausible, not if it responded. Real and control cells then have similar scores,
        so it is calibrated on real cells alone: 1 is a typical cell, and 5 % of the real cells are below 0.
    source
        Source of the formula.
    params
        Settings that distinguish two instances of the same verifier; plain values.

    Examples
    --------
    >>> def smallest_change(cells, reference):
    ...     return -(cells - reference.control_mean.unsqueeze(1)).abs().mean(-1)
    >>> verifier = Verifier(
    ...     name="smallest_change",
    ...     score=smallest_change,
    ...     label="Smallest change",
    ...     description="Minus the mean absolute effect of the cell.",
    ...     range=(-float("inf"), 0.0),
    ...     needs=("control_mean",),
    ... )
    >>> verifier.differentiable
    True
    """

    name: str
    score: Callable[[Tensor, Reference], Tensor]
    label: str
    description: str
    range: tuple[float, float]
    needs: tuple[str, ...] = ()
    prepares: tuple[Prepared, ...] = ()
    differentiable: bool = True
    safeguard: bool = False
    source: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strange = [name for name in self.needs if name not in FIELDS]
        if strange:
            msg = (
                f"`needs` of the verifier {self.name!r} names {strange}, but a reference has {sorted(FIELDS)}. "
                "Compute what else it reads with a `Prepared` in `prepares`."
            )
            raise ValueError(msg)
        taken = [item.name for item in self.prepares if item.name in FIELDS or not item.name.isidentifier()]
        if taken:
            msg = (
                f"The verifier {self.name!r} prepares {taken}; choose Python names that are not fields of a reference."
            )
            raise ValueError(msg)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of everything that it reads from a reference."""
        return (*self.needs, *(item.name for item in self.prepares))

    @property
    def rests_on_effect(self) -> bool:
        """Whether it reads anything that is estimated for a condition without cells."""
        return bool(OF_EFFECT & set(self.needs)) or any(item.scope == "effect" for item in self.prepares)

    def __call__(self, cells: Tensor, reference: Reference) -> Tensor:
        """Score `cells` ``(C, n, G)`` against `reference`; returns ``(C, n)``, of the type of the cells.

        Raises
        ------
        TypeError
            If `score` returns anything but a tensor of real numbers.
        ValueError
            If `score` fails, or returns another shape.
        """
        if cells.ndim != 3 or cells.shape[0] != len(reference):
            msg = f"`cells` has shape {tuple(cells.shape)}; expected ({len(reference)}, n, n_genes), one row per condition."
            raise ValueError(msg)
        try:
            found = self.score(cells, reference)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            msg = f"The verifier {self.name!r} failed on cells of shape {tuple(cells.shape)}: {type(error).__name__}: {error}"
            raise ValueError(msg) from error
        self._check(found, cells)
        return found.to(cells.dtype)

    def _check(self, found: object, cells: Tensor) -> None:
        wanted = f"a tensor of shape {tuple(cells.shape[:2])}, one number a cell, on {cells.device}"
        if not isinstance(found, torch.Tensor) or found.is_complex():
            what = f"a tensor of {found.dtype}" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
            msg = f"The verifier {self.name!r} returned {what}; expected {wanted}."
            if type(found).__module__ == "numpy":
                msg += " Wrap it in `torch.as_tensor`, and declare the verifier with `differentiable=False`."
            raise TypeError(msg)
        if found.shape != cells.shape[:2] or found.device != cells.device:
            msg = f"The verifier {self.name!r} returned a tensor of shape {tuple(found.shape)} on {found.device}; expected {wanted}."
            raise ValueError(msg)
