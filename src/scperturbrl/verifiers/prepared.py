"""Tensors that a verifier computes from the reference cells, in addition to the fields of every reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    Result = TypeVar("Result")


@dataclass(frozen=True)
class Prepared:
    """A tensor that a verifier needs, and the function that computes it from real cells.

    List it in `prepares` of a :class:`~scperturbrl.verifiers.Verifier`; the score then reads ``reference.<name>``. It is
    computed only if a verifier lists it, once for the reference and once for every cross-fitted reference and
    pseudo-reference.

    Attributes
    ----------
    name
        A Python name that is not a field of :class:`~scperturbrl.verifiers.Reference`. Verifiers that share a tensor
        list the same object.
    make
        Function of :class:`~scperturbrl.verifiers.ReferenceCells` that returns an array or a tensor.
    scope
        ``"effect"``: one row for each condition, computed from its perturbed cells. If a condition has none, the row is
        computed from an estimated effect. ``"condition"``: one row for each condition, computed without its perturbed
        cells.
        ``"all"``: the same for all conditions.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> detected = verifiers.Prepared("detected", lambda cells: cells.control_mean > 0.1, scope="condition")
    >>> verifiers.Verifier(
    ...     name="stays_silent",
    ...     score=lambda cells, reference: -(cells * ~reference.detected[:, None]).sum(-1),
    ...     label="Stays silent",
    ...     description="Minus the expression of the genes that control cells do not express.",
    ...     range=(-float("inf"), 0.0),
    ...     prepares=(detected,),
    ...     safeguard=True,
    ... ).reads
    ('detected',)
    """

    name: str
    make: Callable[[ReferenceCells], Any]
    scope: Literal["effect", "condition", "all"] = "effect"


class SetResponse(NamedTuple):
    """Response of gene sets to conditions: correlation with the effect, its t-value, its spread over control cells.

    Each is ``(C, P)``.
    """

    response: np.ndarray
    statistic: np.ndarray
    scale: np.ndarray


class ReferenceCells(Protocol):
    """The real cells from which a reference is computed, passed to :class:`~scperturbrl.verifiers.Prepared`.

    They are training cells; in cross-fitting, two thirds of them; in an evaluation, cells of held-out conditions. Cells
    are identified by their row, so that they can be drawn before their expression is read.

    Attributes
    ----------
    conditions, perturbations, parts
        Names of the C conditions, of their perturbations, and the single perturbations of each.
    genes
        Names of the G genes.
    group, n_groups
        ``(C,)`` index of the combination of covariates of each condition, and number of combinations.
    control_mean, effect, statistic, padj
        ``(C, G)`` mean of the control cells, shrunk effect, test statistic and false discovery rate.
    targets
        ``(C, G)`` whether the condition targets the gene.
    is_pseudo
        ``(C,)`` whether the effect is estimated, because the condition has no cells here.
    pathways, regulons
        Weights ``(G, P)`` and names of the gene sets; P is 0 without a network.
    n_cells
        Number of rows, usable or not.
    bank_size
        Number of real cells to keep for each condition.
    """

    conditions: list[str]
    perturbations: np.ndarray
    parts: Sequence[tuple[str, ...]]
    genes: list[str]
    group: np.ndarray
    n_groups: int
    control_mean: np.ndarray
    effect: np.ndarray
    statistic: np.ndarray
    padj: np.ndarray
    targets: np.ndarray
    is_pseudo: np.ndarray
    pathways: tuple[np.ndarray, list[str]]
    regulons: tuple[np.ndarray, list[str]]
    n_cells: int
    bank_size: int

    def rows(self, condition: int) -> np.ndarray:
        """Rows of the usable perturbed cells of a condition; none if its effect is estimated."""
        ...

    def control_rows(self, condition: int) -> np.ndarray:
        """Rows of the usable control cells of a condition."""
        ...

    def group_rows(self, group: int) -> np.ndarray:
        """Rows of all usable cells of a combination of covariates, perturbed or not."""
        ...

    def populations(self) -> list[np.ndarray]:
        """Rows of the usable cells, one array for each condition or control population in the data."""
        ...

    def shuffled(self, rows: np.ndarray, stream: str) -> np.ndarray:
        """`rows` in random order. The order depends only on the seed, the name of the stream and the cells."""
        ...

    def expression(self, rows: np.ndarray) -> np.ndarray:
        """Log-normalised expression ``(n, G)``."""
        ...

    def control_variance(self) -> np.ndarray:
        """Variance ``(C, G)`` of the control cells."""
        ...

    def stand_ins(self, condition: int) -> np.ndarray:
        """Cells ``(n, G)`` that replace real cells if the effect is estimated: control cells shifted by the effect."""
        ...

    def response(self, weights: np.ndarray) -> SetResponse:
        """Response of the conditions to gene sets with `weights` ``(G, P)``."""
        ...

    def once(self, function: Callable[[ReferenceCells], Result]) -> Result:
        """Result of `function`, computed once and cached."""
        ...

    def __getitem__(self, item: Prepared) -> np.ndarray:
        """Result of another :class:`~scperturbrl.verifiers.Prepared`, computed once."""
        ...
