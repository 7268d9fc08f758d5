"""Sizes that define a generator, and how they are read back from a file."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Architecture:
    """Sizes that define a generator; everything needed to build it before its weights are loaded.

    Attributes
    ----------
    n_genes, n_latent
        Genes G and coordinates d of the space: principal components, or the genes.
    n_tokens, n_features
        Perturbations with a learned embedding, and length of the features of a perturbation.
    n_covariate_values
        Known values of each covariate.
    width, n_blocks
        Width and number of blocks of the velocity network.
    solver_steps, solver
        Number of steps and method of the sampler.
    n_groups
        Control groups with training conditions, for the linear part.
    n_contexts
        Control groups with effects that can be transferred to a new one: those with training or validation conditions.
    n_conditions
        Trained conditions, whose means are stored.
    source
        Where the flow starts, see :mod:`scperturbrl.flow.path`.
    total
        Total of the normalised values of a cell; 0 if it differs between cells.
    n_responses
        Response features of genes that were never perturbed; 0 with user-provided features.
    space
        ``"pca"``, ``"genes"`` or ``"scvi"``, see :mod:`scperturbrl.flow.space.base`.
    n_components
        Components used as features of perturbed genes in the other spaces; 0 for ``"pca"``, where they are the
        coordinates.
    n_hidden
        Hidden units of encoder and decoder of ``"scvi"``; 0 for the others.
    backbone
        Of the velocity: ``"mlp"`` or ``"transformer"``.
    precision
        That the velocity is computed in: ``"float32"`` or ``"bfloat16"``.
    """

    n_genes: int
    n_latent: int
    n_tokens: int
    n_features: int
    n_covariate_values: tuple[int, ...]
    width: int = 256
    n_blocks: int = 2
    solver_steps: int = 5
    solver: str = "midpoint"
    n_groups: int = 0
    n_contexts: int = 0
    n_conditions: int = 0
    source: str = "gaussian"
    total: float = 0.0
    n_responses: int = 0
    space: str = "pca"
    n_components: int = 0
    n_hidden: int = 0
    backbone: str = "mlp"
    precision: str = "float32"


def described_space(space: str, n_latent: int, n_genes: int) -> str:
    """The space in words."""
    if space == "genes":
        return f"{n_genes} genes"
    return f"{n_latent} {'principal components' if space == 'pca' else 'scVI coordinates'} of {n_genes} genes"


def read_architecture(values: Mapping[str, Any]) -> Architecture:
    """Architecture from plain values, as read from a file."""
    plain: dict[str, Any] = {}
    for name, field in Architecture.__dataclass_fields__.items():
        if name not in values:
            # sizes that newer versions added
            if field.default is MISSING:
                msg = f"The architecture has no {name!r}; this is not the record of a generator."
                raise ValueError(msg)
        elif name == "n_covariate_values":
            plain[name] = tuple(_size(name, n) for n in values[name])
        else:
            plain[name] = _PLAIN.get(str(field.type), partial(_size, name))(values[name])
    return Architecture(**plain)


_PLAIN: dict[str, Callable[[Any], Any]] = {"str": str, "float": lambda value: _total(value)}
# upper bounds, beyond which building or running a model would take too long
_MOST = {
    "width": 16_384,
    "n_blocks": 1000,
    "solver_steps": 10_000,
    "n_covariate_values": 100_000,
    "n_latent": 200_000,
    "n_genes": 200_000,
    "n_hidden": 100_000,
    "n_components": 10_000,
}
_LEAST = {"n_genes": 1, "n_latent": 1, "width": 1, "solver_steps": 1}


def _size(name: str, value: Any) -> int:
    try:
        size = int(value)
    except (TypeError, ValueError, OverflowError):
        size = -1
    most = _MOST.get(name, 10_000_000)
    if not _LEAST.get(name, 0) <= size <= most:
        msg = (
            f"The architecture has {name} = {value!r}; a whole number from {_LEAST.get(name, 0)} to {most} is expected."
        )
        raise ValueError(msg)
    return size


def _total(value: Any) -> float:
    total = float(value)
    if not 0 <= total < 1e12:
        msg = f"The architecture has total = {value!r}; the sum of the normalised values of a cell is expected."
        raise ValueError(msg)
    return total
