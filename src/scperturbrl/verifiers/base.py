"""Verifiers, and the reference data that they may use."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch

from scperturbrl._core.memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

SHARED = ("network", "regulon", "all_effects", "projection", "landmarks", "typical", "identity_weight", "identity_bias")
"""Fields of :class:`Reference` that are the same for all conditions, so that choosing conditions leaves them whole."""


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
        The genes that the condition itself targets are left out: agreeing on them proves nothing.
    n_significant
        ``(C,)`` how many of `ranked_genes` pass the false discovery rate.
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
    regulon, regulon_response, regulon_weight, regulon_scale
        The same four for transcription factors. A factor that the condition targets has weight 0.
    targets
        ``(C, T)`` indices of the genes that the condition targets; -1 is padding.
    spread
        ``(C, G)`` standard deviation of expression over the control cells.
    quiet
        ``(C, G)`` boolean: genes that the condition does not change.
    all_effects
        ``(A, G)`` shrunk mean effects of all conditions with a reference.
    rivals
        ``(C, A)`` boolean: other perturbations measured with the same covariates.
    projection
        ``(G, d)`` orthonormal components in which distances are measured.
    bank_points
        ``(C, M, d)`` real perturbed cells on these components; NaN is padding.
    group
        ``(C,)`` which combination of covariates the condition belongs to, of Q.
    landmarks
        ``(Q, L, d)`` real cells of each combination, perturbed or not, on the components; NaN is padding.
    typical
        ``(Q, 3, 2)`` mean and standard deviation over real cells of the log total, of the share of genes detected,
        and of the distance to the landmarks.
    identity_weight, identity_bias
        ``(G, Q)`` and ``(Q,)`` logistic model of the combination of covariates. Q is 0 where there is only one.

    Notes
    -----
    The fields from `regulon` on are None unless a verifier needs them.
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
    regulon: Tensor | None = None
    regulon_response: Tensor | None = None
    regulon_weight: Tensor | None = None
    regulon_scale: Tensor | None = None
    targets: Tensor | None = None
    spread: Tensor | None = None
    quiet: Tensor | None = None
    all_effects: Tensor | None = None
    rivals: Tensor | None = None
    projection: Tensor | None = None
    bank_points: Tensor | None = None
    group: Tensor | None = None
    landmarks: Tensor | None = None
    typical: Tensor | None = None
    identity_weight: Tensor | None = None
    identity_bias: Tensor | None = None

    def __len__(self) -> int:
        return len(self.conditions)

    def to(self, device: torch.device | str) -> Reference:
        """Return the reference with every tensor on `device`."""
        return replace(self, **{name: value.to(device) for name, value in self._tensors().items()})

    def select(self, index: Tensor) -> Reference:
        """Return the reference of the conditions at `index`, a 1-d tensor of integers that may repeat."""
        chosen = {name: value[index] for name, value in self._tensors().items() if name not in SHARED}
        return replace(self, conditions=tuple(self.conditions[i] for i in index.tolist()), **chosen)

    def _tensors(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


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
        reference cannot judge the condition.
    label
        Sentence-case name for plots.
    description
        One sentence: what it measures and against what.
    range
        Smallest and largest possible raw score.
    needs
        Fields of :class:`Reference` that it reads.
    differentiable
        Whether gradients with respect to `cells` are defined.
    safeguard
        Whether it asks if the cell is sound, not if it responded. Real and control cells then score alike, so it is
        calibrated on real cells alone: 1 is a typical cell, and a twentieth of the real cells are below 0.
    source
        Where the formula comes from.
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
    differentiable: bool = True
    safeguard: bool = False
    source: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, cells: Tensor, reference: Reference) -> Tensor:
        """Score `cells` ``(C, n, G)`` against `reference`; returns ``(C, n)``, of the type of the cells.

        Raises
        ------
        TypeError
            If `score` returns something else than a tensor of real numbers.
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


def field_of(reference: Reference, name: str) -> Tensor:
    """Return an optional field of `reference`.

    Raises
    ------
    ValueError
        If the reference was made without it.
    """
    value = getattr(reference, name)
    if value is None:
        msg = f"The reference has no `{name}`. List it in `needs` of the verifier, so that it is prepared."
        raise ValueError(msg)
    return value
