"""Training scVI on the training cells, and taking its encoder and decoder over as plain weights."""

from __future__ import annotations

import logging
import random
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scperturbrl.flow.space_scvi import ScviSpace, TwoLayers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy import sparse
    from torch import Tensor, nn

    from scperturbrl.data.pca import Components

N_HIDDEN = 128
BATCH = 256
N_STEPS = 6000


class CountedCells(NamedTuple):
    """Training cells as scVI sees them.

    Attributes
    ----------
    counts
        ``(n, G)``.
    unit
        ``(n,)`` normalised value of one count.
    """

    counts: sparse.csr_matrix
    unit: np.ndarray


def fit_scvi_space(
    cells: CountedCells, components: Components, n_latent: int, *, seed: int, device: torch.device
) -> ScviSpace:
    """Train scVI on `cells`, and make a space of its encoder and decoder.

    One hidden layer of 128 units and negative-binomial counts, for 6,000 steps of 256 cells or 400 epochs, whichever is less.
    """
    encoder, decoder = _layers(_trained(cells.counts, n_latent, seed, device))
    unit = float(np.median(cells.unit))
    level = float(np.median(np.asarray(cells.counts.sum(1)).ravel() * cells.unit))
    mean, loadings = torch.as_tensor(components.mean), torch.as_tensor(components.loadings)
    no_line = torch.zeros(loadings.shape[1], n_latent)
    rough = ScviSpace(mean, loadings, no_line, encoder, decoder, unit=unit, level=level)
    expression = cells.counts.multiply(cells.unit[:, None]).tocsr().log1p().astype(np.float32)
    latent = torch.cat([rough.encode(torch.as_tensor(block.toarray())) for block in _blocks(expression)])
    centre, scale = latent.mean(0), latent.var(0).mean().sqrt()
    coordinates = torch.as_tensor(expression @ components.loadings - components.mean @ components.loadings)
    return ScviSpace(
        mean,
        loadings,
        torch.linalg.lstsq(coordinates.double(), ((latent - centre) / scale).double()).solution,
        encoder._replace(second=encoder.second / scale, second_bias=(encoder.second_bias - centre) / scale),
        decoder._replace(first=decoder.first * scale, first_bias=decoder.first_bias + centre @ decoder.first),
        unit=unit,
        level=level,
    )


def _trained(counts: sparse.csr_matrix, n_latent: int, seed: int, device: torch.device) -> Any:
    """The trained network of scVI, on the CPU."""
    from anndata import AnnData
    from scvi.model import SCVI

    adata = AnnData(counts.astype(np.float32))
    with _own_random_numbers(), _quiet():
        _seed(seed)
        SCVI.setup_anndata(adata)
        model = SCVI(adata, n_hidden=N_HIDDEN, n_latent=n_latent, n_layers=1, gene_likelihood="nb")
        model.train(
            max_epochs=max(1, min(400, N_STEPS * BATCH // len(adata))),
            batch_size=BATCH,
            train_size=1.0,
            # nothing is set aside, and its order would not depend on the seed
            shuffle_set_split=False,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
        )
    return model.module.cpu().eval()


@torch.no_grad()
def _layers(module: Any) -> tuple[TwoLayers, TwoLayers]:
    encoder = TwoLayers(*_folded(module.z_encoder.encoder), *_linear(module.z_encoder.mean_encoder))
    return encoder, TwoLayers(*_folded(module.decoder.px_decoder), *_linear(module.decoder.px_scale_decoder[0]))


def _folded(layers: Any) -> tuple[Tensor, Tensor]:
    """Weight ``(a, h)`` and bias ``(h,)`` of a fully connected layer with its batch normalisation."""
    linear, normalisation = layers.fc_layers[0][:2]
    weight, bias = _linear(linear)
    gain = normalisation.weight / (normalisation.running_var + normalisation.eps).sqrt()
    return weight * gain, (bias - normalisation.running_mean) * gain + normalisation.bias


def _linear(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    return layer.weight.detach().T.contiguous(), layer.bias.detach()


def _blocks(matrix: sparse.csr_matrix, size: int = 4096) -> Iterator[sparse.csr_matrix]:
    for start in range(0, matrix.shape[0], size):
        yield matrix[start : start + size]


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Leave the global random numbers, which scVI uses, as they were."""
    plain, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(array)  # noqa: NPY002


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Lightning says of devices, loaders and loggers."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
