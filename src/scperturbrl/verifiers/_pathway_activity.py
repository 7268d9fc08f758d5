"""Agreement of a cell's pathway activities with the condition's pathway response."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scperturbrl._core.stats import standardise
from scperturbrl.verifiers.base import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from scperturbrl.verifiers.base import Reference

MIN_SCALE = 1e-6
_BLOCK = 256


def pathway_activity() -> Verifier:
    """Pathway activity: do pathways change in the same direction as in real cells of the condition?

    With a the correlation of the cell's effect with a pathway's weights over all genes, the score is the mean of
    tanh(sign(response) * a / scale) over pathways, weighted by the reference's `pathway_weight`.

    Returns
    -------
    A verifier in [-1, 1]. NaN for a condition with no significant pathway, and without a network.

    Notes
    -----
    The correlation carries the same information as the t-value of decoupler's univariate linear model (:func:`ulm_t`),
    but is bounded: t-values grow with the number of genes and with decreasing noise, so an unrealistically smooth cell
    would score high.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.pathway_activity().range
    (-1.0, 1.0)
    """
    return Verifier(
        name="pathway_activity",
        score=_score,
        label="Pathway activity",
        description="Agreement in sign and size of the cell's pathway activities with the condition's response.",
        range=(-1.0, 1.0),
        needs=("control_mean", "network", "pathway_response", "pathway_weight", "pathway_scale"),
        source="Fourth reward named by PerturbCellRL (arXiv:2606.27752), with activities after decoupler's ulm "
        "(doi:10.1093/bioadv/vbac016); the formula is our interpretation.",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    return activity_agreement(
        _activity(cells, reference),
        response=reference.pathway_response,
        weight=reference.pathway_weight,
        scale=reference.pathway_scale,
    )


def _activity(cells: Tensor, reference: Reference) -> Tensor:
    """Activities ``(C, n, P)`` of cells; on the CPU in blocks, so that effects of all genes fit into the cache."""
    control = reference.control_mean
    if cells.device.type != "cpu":
        return ulm_correlation(cells - control.unsqueeze(1), reference.network)
    if len(cells) > 1 and cells.stride(0) == 0 and (control == control[:1]).all():
        # one set of cells that is scored for several conditions
        return _activity(cells[:1], reference.select(torch.zeros(1, dtype=torch.long))).expand(len(cells), -1, -1)
    blocks = [
        torch.cat([ulm_correlation(block - mean, reference.network) for block in own.split(_BLOCK, dim=1)], dim=1)
        for own, mean in _split(cells, control.unsqueeze(1))
    ]
    return torch.cat(blocks)


def _split(cells: Tensor, control: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Split conditions so that the cells of each part fit into a block."""
    step = max(1, _BLOCK // max(cells.shape[1], 1))
    return zip(cells.split(step), control.split(step), strict=True)


def activity_agreement(activity: Tensor, *, response: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Weighted mean of ``tanh(sign(response) * activity / scale)``.

    Parameters
    ----------
    activity
        ``(C, n, P)`` correlations of cells with the sets of a network.
    response, weight, scale
        ``(C, P)`` of the condition, as in :class:`~scperturbrl.verifiers.Reference`.

    Returns
    -------
    ``(C, n)`` in [-1, 1]; NaN for a condition in which no set has weight.
    """
    used = weight > 0
    # Sets without weight may have a scale of 0 or NaN; they must not reach the sum, nor its gradient.
    weight = weight.masked_fill(~used, 0)
    slope = (response.sign() / scale.clamp_min(MIN_SCALE)).masked_fill(~used, 0)
    agreement = torch.tanh(activity * slope.unsqueeze(1))
    total = weight.sum(-1, keepdim=True)
    score = (agreement @ weight.unsqueeze(-1)).squeeze(-1) / total.masked_fill(total == 0, 1)
    return score.clamp(-1, 1).masked_fill(total == 0, torch.nan)


def standardise_network(weights: Tensor) -> Tensor:
    """Centre each pathway's weights over genes and scale them to unit norm.

    Parameters
    ----------
    weights
        ``(G, P)`` weights, 0 for genes outside a pathway.

    Returns
    -------
    ``(G, P)`` as :class:`~scperturbrl.verifiers.Reference` expects its `network`. A constant column becomes 0.

    Examples
    --------
    >>> standardise_network(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
    tensor([[ 0.7071,  0.0000],
            [-0.7071,  0.0000],
            [ 0.0000,  0.0000]])
    """
    return standardise(weights.mT).mT.contiguous()


def ulm_correlation(effects: Tensor, network: Tensor) -> Tensor:
    """Correlation of effects with pathway weights over all genes, as one matrix product.

    Parameters
    ----------
    effects
        ``(..., G)`` expression minus control expression.
    network
        ``(G, P)`` from :func:`standardise_network`.

    Returns
    -------
    ``(..., P)`` correlations in [-1, 1]; 0 with zero gradient if the effect is the same in every gene or the network
    column is 0.

    Examples
    --------
    >>> network = standardise_network(torch.tensor([[1.0], [-1.0], [0.0]]))
    >>> ulm_correlation(torch.tensor([[2.0, 0.0, 1.0], [3.0, 3.0, 3.0]]), network)
    tensor([[1.],
            [0.]])
    """
    n_genes = network.shape[0]
    # The network is centred, so effects need centring only for their norm. The mean is computed as an additional
    # column, without a second copy of the cells.
    projector = torch.cat([network, network.new_full((n_genes, 1), n_genes**-0.5)], dim=1)
    product = effects @ projector
    square = torch.linalg.vector_norm(effects, dim=-1, keepdim=True).square()
    centred = square - product[..., -1:].square()
    constant = centred <= 1e-6 * square
    norm = centred.masked_fill(constant, 1).sqrt()
    return (product[..., :-1] / norm).masked_fill(constant, 0).clamp(-1, 1)


def ulm_t(effects: Tensor, network: Tensor) -> Tensor:
    """Enrichment scores of decoupler's univariate linear model, t = r sqrt(df / (1 - r^2)) with df = G - 2.

    Parameters
    ----------
    effects
        ``(..., G)`` expression minus control expression.
    network
        ``(G, P)`` from :func:`standardise_network`.

    Returns
    -------
    ``(..., P)`` t-values of the slope; 0 where :func:`ulm_correlation` is.

    Examples
    --------
    >>> network = standardise_network(torch.tensor([[1.0], [-1.0], [0.0], [0.0]]))
    >>> ulm_t(torch.tensor([[2.0, 0.0, 3.0, 1.0]]), network)
    tensor([[1.1547]])
    """
    r = ulm_correlation(effects, network)
    return r * ((network.shape[0] - 2) / (1 - r.square()).clamp_min(torch.finfo(r.dtype).eps)).sqrt()
