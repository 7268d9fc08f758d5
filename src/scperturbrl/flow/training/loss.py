"""The flow-matching loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl.flow.path import sample_path

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.generator import Generator


def flow_matching_loss(
    generator: Generator,
    cells: Tensor,
    control: Tensor,
    conditions: ConditionBatch,
    index: Tensor,
    rng: torch.Generator,
    *,
    n_genes: int | None = None,
    velocity: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Squared error of the velocity, averaged over coordinates; ``(n,)``, one value per cell.

    Parameters
    ----------
    generator
        The model.
    cells, control
        ``(n, d)`` latent cells, and the latent control cells they are conditioned on.
    conditions, index
        Conditions, and ``(n,)`` which of them each cell belongs to.
    rng
        Random generator for times and noise.
    n_genes
        Number of genes, drawn at random, for backbones that can train on some genes; None means all.
    velocity
        Function that computes the velocity instead of the generator, such as its compiled form.
    """
    genes = generator.velocity.drawn_genes(n_genes, rng)
    if genes is not None:
        cells, control = cells[:, genes], control[:, genes]
    sample = sample_path(cells, control, generator.source, rng)
    code, total = generator.encoder(conditions)
    field = generator.velocity if velocity is None else velocity
    predicted = field(sample.x_t, sample.t, control, code[index], total[index], genes)
    return (predicted - sample.velocity).square().mean(1)
