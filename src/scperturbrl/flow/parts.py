"""The parts of a generator of a given architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scperturbrl._core.validate import check_choice
from scperturbrl.flow.observation.lattice import LatticeObservation
from scperturbrl.flow.observation.nb import NegativeBinomialObservation
from scperturbrl.flow.observation.scvi import ScviObservation
from scperturbrl.flow.space.base import SPACES, GeneSpace, PCASpace
from scperturbrl.flow.space.scvi import ScviSpace, TwoLayers
from scperturbrl.flow.velocity.base import BACKBONES, PRECISIONS
from scperturbrl.flow.velocity.mlp import VelocityMLP
from scperturbrl.flow.velocity.transformer import VelocityTransformer

if TYPE_CHECKING:
    from scperturbrl.flow.architecture import Architecture
    from scperturbrl.flow.observation.base import Observation
    from scperturbrl.flow.space.base import Space
    from scperturbrl.flow.velocity.base import Velocity


def empty_space(a: Architecture) -> Space:
    """Unfitted space of the right sizes."""
    check_choice("space", a.space, SPACES)
    mean = torch.zeros(a.n_genes)
    if a.space == "pca":
        return PCASpace(mean, torch.zeros(a.n_genes, a.n_latent), 1.0)
    components = torch.zeros(a.n_genes, a.n_components)
    if a.space == "genes":
        return GeneSpace(mean, components, 1.0)
    encoder = TwoLayers.zeros(a.n_genes, a.n_hidden, a.n_latent)
    decoder = TwoLayers.zeros(a.n_latent, a.n_hidden, a.n_genes)
    return ScviSpace(mean, components, torch.zeros(a.n_components, a.n_latent), encoder, decoder)


def new_velocity(a: Architecture) -> Velocity:
    """Velocity with random weights."""
    check_choice("backbone", a.backbone, BACKBONES)
    check_choice("precision", a.precision, PRECISIONS)
    kind = VelocityMLP if a.backbone == "mlp" else VelocityTransformer
    return kind(a.n_latent, a.width, a.n_blocks, precision=a.precision)


def empty_observation(a: Architecture) -> Observation:
    """Unfitted observation layer of the right sizes."""
    if a.space == "genes":
        return LatticeObservation(a.n_genes, a.total)
    if a.space == "scvi":
        return ScviObservation(a.n_genes, a.n_latent, a.n_hidden, a.n_tokens, a.total)
    return NegativeBinomialObservation(a.n_genes, a.n_latent, a.n_tokens, a.total)
