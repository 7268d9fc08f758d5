"""The flow-matching loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl.flow.path import sample_path

if TYPE_CHECKING:
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
) -> Tensor:
    """Squared error of the velocity, averaged over coordinates; ``(n,)``, one value a cell.

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
    """
    sample = sample_path(cells, control, generator.source, rng)
    code, total = generator.encoder(conditions)
    predicted = generator.velocity(sample.x_t, sample.t, control, code[index], total[index])
    return (predicted - sample.velocity).square().mean(1)
