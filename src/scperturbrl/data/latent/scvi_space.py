"""The latent space of an scVI model of the training cells: encoder and decoder as plain weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scperturbrl.data.latent.scvi_training import trained_scvi
from scperturbrl.flow.space.scvi import ScviSpace, TwoLayers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy import sparse
    from torch import Tensor, nn

    from scperturbrl.data.cells.pca import Components


class CountedCells(NamedTuple):
    """Training cells for scVI.

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
    cells: CountedCells,
    components: Components,
    n_latent: int,
    *,
    seed: int,
    device: torch.device,
    progress: bool | None = None,
) -> ScviSpace:
    """Train scVI on `cells`, and build a space from its encoder and decoder."""
    module = trained_scvi(cells.counts, n_latent, seed=seed, device=device, progress=progress)
    encoder, decoder = _layers(module)
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
