"""A generator before its velocity is trained: space, observation layer and linear part, fitted on training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from scperturbrl._core import keys
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.generator.depth import with_ratios
from scperturbrl.data.generator.linear import fit_linear_part
from scperturbrl.data.generator.stored import StoredGenerator, condition_frame
from scperturbrl.data.generator.vocabulary import gene_embeddings, training_vocabulary
from scperturbrl.data.latent.cells import common_total, control_units, count_blocks, encode_rows, minibatch_pool
from scperturbrl.data.latent.scvi_training import N_HIDDEN
from scperturbrl.data.latent.space import fit_space
from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.generator import Generator
from scperturbrl.flow.observation.denoise import fit_observation
from scperturbrl.flow.observation.lattice import LatticeObservation
from scperturbrl.flow.observation.scvi import ScviObservation
from scperturbrl.flow.space.scvi import ScviSpace
from scperturbrl.flow.velocity.transformer import VelocityTransformer, coexpressed
from scperturbrl.metrics.baselines.responses import N_RESPONSES

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup

N_COEXPRESSION = 5000


class GeneratorSettings(NamedTuple):
    """What a user sets of a new generator; see :func:`scperturbrl.tl.fit_generator`."""

    n_latent: int | None
    width: int
    n_blocks: int
    space: str = "pca"
    backbone: str = "mlp"
    precision: str = "float32"
    prior: str = "linear"
    source: str = "control"


def new_generator(
    cells: Cells,
    setup: Setup,
    settings: GeneratorSettings,
    embeddings: pd.DataFrame | None,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool | None = None,
) -> StoredGenerator:
    """Space and observation layer fitted on training cells, on `device`; encoder and velocity at random."""
    rows = np.flatnonzero(cells.is_training())
    space = fit_space(settings.space, settings.n_latent, cells, rows, seed=seed, device=device, progress=progress)
    training = np.isin(np.arange(len(cells.table)), cells.codes[rows])
    validation = np.isin(np.arange(len(cells.table)), cells.codes[cells.split == keys.VALIDATION])
    features = gene_embeddings(space.components.numpy(), cells.genes) if embeddings is None else embeddings
    vocabulary = training_vocabulary(cells.table, training, validation, setup.covariate_keys, features)
    generator = Generator(
        Architecture(
            n_genes=len(cells.genes),
            n_latent=space.dim,
            n_tokens=len(vocabulary.tokens),
            n_features=features.shape[1],
            n_covariate_values=tuple(len(values) for values in vocabulary.covariate_values),
            n_groups=len(vocabulary.groups),
            n_contexts=len(vocabulary.contexts),
            n_conditions=int((training & ~cells.table["is_control"].to_numpy(dtype=bool)).sum()),
            width=settings.width,
            n_blocks=settings.n_blocks,
            source=settings.source,
            total=common_total(cells, rows),
            n_responses=N_RESPONSES if embeddings is None else 0,
            space=settings.space,
            n_components=0 if settings.space == "pca" else space.components.shape[1],
            n_hidden=N_HIDDEN if settings.space == "scvi" else 0,
            backbone=settings.backbone,
            precision=settings.precision,
        ),
        seed=seed,
    )
    generator.space = space
    if isinstance(generator.velocity, VelocityTransformer):
        generator.velocity.set_neighbours(coexpressed(_some_cells(cells, rows, seed)))
    tokens = vocabulary.batch(cells.table[training]).tokens
    generator.denoise.copy_(_fit_observation(generator, cells, rows, tokens, training, seed, device))
    split = dict(zip(cells.table.index[cells.codes], cells.split, strict=True))
    stored = StoredGenerator(
        generator=generator,
        vocabulary=vocabulary,
        params={
            "embeddings": "loadings" if embeddings is None else "user",
            "prior": settings.prior,
            "source": settings.source,
        },
        fitted={},
        history=pd.DataFrame(),
        conditions=with_ratios(condition_frame(cells.table, split, vocabulary), cells),
        genes=[str(gene) for gene in cells.genes],
    )
    fit_linear_part(stored, cells)
    return stored


def _fit_observation(
    generator: Generator,
    cells: Cells,
    rows: np.ndarray,
    tokens: torch.Tensor,
    training: np.ndarray,
    seed: int,
    device: torch.device | str,
) -> torch.Tensor:
    observation, space = generator.observation, generator.space
    highest = np.zeros(len(cells.genes), dtype=np.float32)
    for _, block in cells.pieces(rows):
        highest = np.maximum(highest, dense(block.max(0)).ravel())
    observation.max_log_rate.copy_(torch.log(torch.expm1(torch.as_tensor(highest)).clamp_min(1e-6)))
    if isinstance(observation, LatticeObservation):
        observation.intercept.copy_(space.mean)
        observation.slope.copy_(space.scale)
        # the flow generates count noise itself, so none is removed
        return torch.ones(space.dim)
    if isinstance(observation, ScviObservation) and isinstance(space, ScviSpace):
        observation.start_from(space)
    position = np.cumsum(training) - 1
    rows = shuffled(cells, rows, seed, "order of cells for the observation layer")
    unit, pool = control_units(cells, rows), minibatch_pool(cells, len(rows), seed=seed)
    latent = encode_rows(cells, rows, space)
    factor = fit_observation(
        generator.to(device),
        count_blocks(cells, rows, unit, pool),
        torch.as_tensor(unit, dtype=torch.float32),
        latent,
        torch.as_tensor(position[cells.codes[rows]]),
        tokens,
        n_steps=300,
        n_rounds=2,
        seed=seed,
        pool=torch.as_tensor(pool),
        control=torch.as_tensor(_control_positions(cells, training, position)),
    )
    generator.cpu()
    return factor.cpu()


def _control_positions(cells: Cells, training: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Position of the control condition of each training condition, -1 if it has none there."""
    found = np.array([cells.control_row(int(row)) for row in np.flatnonzero(training)])
    return np.where(training[found], position[found], -1)


def _some_cells(cells: Cells, rows: np.ndarray, seed: int) -> torch.Tensor:
    """Up to 5,000 of the cells at `rows`, dense: enough to find co-expressed genes."""
    some = shuffled(cells, rows, seed, "cells for co-expression")[:N_COEXPRESSION]
    return torch.as_tensor(dense(cells.expression[some]))
