"""A generator before its velocity is trained: space, observation layer and linear part, fitted on training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from scperturbrl.data.cells import dense
from scperturbrl.data.pca import principal_components
from scperturbrl.data.recentring import fit_linear_part
from scperturbrl.data.stored_generator import StoredGenerator, condition_frame
from scperturbrl.data.training_set import common_total, control_units, count_blocks, encode_rows, minibatch_pool
from scperturbrl.data.unseen import N_RESPONSES
from scperturbrl.data.vocabulary import gene_embeddings, training_vocabulary
from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.denoise import fit_observation
from scperturbrl.flow.generator import Generator
from scperturbrl.flow.space import PCASpace

if TYPE_CHECKING:
    from scperturbrl.data.cells import Cells
    from scperturbrl.data.registry import Setup


def new_generator(
    cells: Cells,
    setup: Setup,
    sizes: dict[str, int],
    embeddings: pd.DataFrame | None,
    prior: str,
    source: str,
    seed: int,
) -> StoredGenerator:
    """Space and observation layer fitted on training cells; encoder and velocity at random."""
    rows = np.flatnonzero(cells.is_training())
    space = _fit_space(cells, rows, sizes["n_latent"], seed)
    training = np.isin(np.arange(len(cells.table)), cells.codes[rows])
    features = gene_embeddings(space.components.numpy(), cells.genes) if embeddings is None else embeddings
    vocabulary = training_vocabulary(cells.table, training, setup.covariate_keys, features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(
            Architecture(
                n_genes=len(cells.genes),
                n_latent=space.dim,
                n_tokens=len(vocabulary.tokens),
                n_features=features.shape[1],
                n_covariate_values=tuple(len(values) for values in vocabulary.covariate_values),
                n_groups=len(vocabulary.groups),
                width=sizes["width"],
                n_blocks=sizes["n_blocks"],
                source=source,
                total=common_total(cells, rows),
                n_responses=N_RESPONSES if embeddings is None else 0,
            )
        )
    generator.space = space
    factor = _fit_observation(generator, cells, rows, vocabulary.batch(cells.table[training]).tokens, training, seed)
    split = dict(zip(cells.table.index[cells.codes], cells.split, strict=True))
    stored = StoredGenerator(
        generator=generator,
        vocabulary=vocabulary,
        params={
            "embeddings": "loadings" if embeddings is None else "user",
            "denoise": factor.tolist(),
            "prior": prior,
            "source": source,
        },
        history=pd.DataFrame(),
        conditions=condition_frame(cells.table, split, vocabulary),
        genes=[str(gene) for gene in cells.genes],
    )
    fit_linear_part(stored, cells)
    return stored


def _fit_space(cells: Cells, rows: np.ndarray, n_latent: int, seed: int) -> PCASpace:
    n = min(n_latent, len(cells.genes) - 1, len(rows) - 1)
    if cells.streamed:
        found = principal_components(cells, rows, n)
        scale = float(np.sqrt(found.variance.mean()))
        return PCASpace(torch.as_tensor(found.mean), torch.as_tensor(found.loadings), scale)
    from sklearn.decomposition import PCA

    pca = PCA(n_components=n, svd_solver="arpack", random_state=seed).fit(cells.expression[rows])
    scale = float(np.sqrt(pca.explained_variance_.mean()))
    return PCASpace(torch.as_tensor(pca.mean_), torch.as_tensor(pca.components_.T.copy()), scale)


def _fit_observation(
    generator: Generator, cells: Cells, rows: np.ndarray, tokens: torch.Tensor, training: np.ndarray, seed: int
) -> torch.Tensor:
    unit, pool = control_units(cells, rows), minibatch_pool(cells, len(rows), seed=seed)
    observation = generator.observation
    highest = np.zeros(len(cells.genes), dtype=np.float32)
    for _, block in cells.pieces(rows):
        highest = np.maximum(highest, dense(block.max(0)).ravel())
    observation.max_log_rate.copy_(torch.log(torch.expm1(torch.as_tensor(highest)).clamp_min(1e-6)))
    position = np.cumsum(training) - 1
    return fit_observation(
        generator,
        count_blocks(cells, rows, unit, pool),
        torch.as_tensor(unit, dtype=torch.float32),
        encode_rows(cells, rows, generator.space),
        torch.as_tensor(position[cells.codes[rows]]),
        tokens,
        n_steps=300,
        n_rounds=2,
        seed=seed,
        pool=torch.as_tensor(pool),
    )
