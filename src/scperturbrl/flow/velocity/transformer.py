"""The velocity field: a transformer whose tokens are genes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from scperturbrl.flow.velocity.base import Velocity, of_cells
from scperturbrl.flow.velocity.differential_attention import DifferentialAttention
from scperturbrl.flow.velocity.mlp import time_features

if TYPE_CHECKING:
    from collections.abc import Callable

# length of an attention head, and number of co-expressed genes to which each gene attends
HEAD, N_NEIGHBOURS = 64, 30
# number of gene tokens at a time if no gradient is needed
N_TOKENS = 2**18


class GeneEmbedding(nn.Module):
    """An embedding of each gene that attends to those of its co-expressed genes.

    Parameters
    ----------
    n_genes, width, n_heads
        Sizes.
    n_neighbours
        Number of co-expressed genes to which each gene attends, including itself.
    """

    neighbours: Tensor

    def __init__(self, n_genes: int, width: int, n_heads: int, n_neighbours: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.embedding = nn.Embedding(n_genes, width)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.outlet = nn.Linear(width, width)
        # indices of genes; as floats, because all weights of a generator have one type in its file
        own = torch.arange(n_genes, dtype=torch.float32)[:, None]
        self.register_buffer("neighbours", own.repeat(1, min(n_neighbours, n_genes)))

    def forward(self, genes: Tensor | None) -> Tensor:
        """Embeddings ``(d', width)`` of `genes`, or of all."""
        own, neighbours = self.embedding.weight, self.neighbours.long()
        if genes is not None:
            own, neighbours = own[genes], neighbours[genes]
        n, width = own.shape
        query = self.query(self.norm(own)).view(n, self.n_heads, 1, -1)
        near = self.key_value(self.norm(self.embedding.weight))[neighbours]
        key, value = near.view(n, neighbours.shape[1], 2, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        return own + self.outlet(scaled_dot_product_attention(query, key, value).reshape(n, width))


class _Block(nn.Module):
    """Attention among genes, attention against the control cell, and a perceptron, the identity at initialisation (adaLN-zero)."""

    def __init__(self, width: int, n_heads: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.control_norm = nn.LayerNorm(width)
        self.own = DifferentialAttention(width, n_heads, depth)
        self.cross = DifferentialAttention(width, n_heads, depth)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 9 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: Tensor, control: Tensor, context: Tensor, index: Tensor | None = None) -> Tensor:
        parts = of_cells(self.modulation(context), index)[:, None].chunk(9, dim=-1)
        control = self.control_norm(control)
        layers: tuple[Callable[[Tensor], Tensor], ...] = (self.own, partial(self.cross, others=control), self.mlp)
        for layer, shift, scale, gate in zip(layers, parts[::3], parts[1::3], parts[2::3], strict=True):
            hidden = hidden + gate * layer(self.norm(hidden) * (1 + scale) + shift)
        return hidden


class VelocityTransformer(Velocity):
    """Transformer over the genes of a cell, for the gene space.

    The token of a gene is made of its value on the path, its value in the control cell and its embedding; time and condition modulate
    every layer. A training step may use only some of the genes, because the cost of attention is quadratic.

    Parameters
    ----------
    n_genes
        Number of genes G.
    width
        Length of a token; also the length of the condition code.
    n_blocks
        Blocks.
    precision
        See :class:`~scperturbrl.flow.velocity.base.Velocity`.

    Notes
    -----
    After scDFM :cite:p:`yu2026scdfm`: gene tokens, a layer of attention to co-expressed genes, differential attention with the control cell's
    map as the second one, and a random part of the genes in each step. Unlike there, the perturbation enters with the time
    into the modulation of every layer and, linearly, into the result, as in the other backbone.
    """

    def __init__(self, n_genes: int, width: int, n_blocks: int, *, precision: str = "float32") -> None:
        super().__init__(precision)
        n_heads = max(n for n in range(1, max(width // HEAD, 1) + 1) if width % n == 0)
        self.width, self.n_genes = width, n_genes
        self.genes = GeneEmbedding(n_genes, width, n_heads, N_NEIGHBOURS)
        self.value = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.LayerNorm(width))
        self.control = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.LayerNorm(width))
        self.fuse = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, n_heads, depth) for depth in range(n_blocks))
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, 1)
        self.shift = nn.Linear(width, n_genes, bias=False)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        nn.init.zeros_(self.shift.weight)

    def velocity(
        self,
        x: Tensor,
        t: Tensor,
        control: Tensor,
        code: Tensor,
        total: Tensor,
        genes: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """See :meth:`Velocity.forward`; without gradients, in blocks of cells, so that memory is bounded."""
        size = max(1, N_TOKENS // x.shape[1])
        if torch.is_grad_enabled() or len(x) <= size:
            return self._velocity(x, t, control, code, total, genes, index)
        wanted = torch.arange(len(x), device=x.device).split(size)
        if index is None:
            parts = [self._velocity(x[i], t[i], control[i], code[i], total[i], genes, None) for i in wanted]
        else:
            parts = [self._velocity(x[i], t, control[i], code, total, genes, index[i]) for i in wanted]
        return torch.cat(parts)

    def _velocity(
        self,
        x: Tensor,
        t: Tensor,
        control: Tensor,
        code: Tensor,
        total: Tensor,
        genes: Tensor | None,
        index: Tensor | None,
    ) -> Tensor:
        context = silu(self.time(time_features(t, self.width)) + code)
        known = self.genes(genes)
        before = self.control(control[..., None]) + known
        hidden = self.fuse(torch.cat([self.value(x[..., None]) + known, before], dim=-1))
        for block in self.blocks:
            hidden = block(hidden, before, context, index)
        shift = self.shift.weight if genes is None else self.shift.weight[genes]
        return self.outlet(self.norm(hidden)).squeeze(-1) + of_cells(total @ shift.T, index)

    def set_neighbours(self, neighbours: Tensor) -> None:
        """Let every gene attend to the genes ``(G, k)`` that :func:`coexpressed` found."""
        self.genes.neighbours.copy_(neighbours)

    def check(self) -> None:
        """See :meth:`Velocity.check`."""
        if bool(((self.genes.neighbours < 0) | (self.genes.neighbours >= self.n_genes)).any()):
            msg = "The weight 'velocity.genes.neighbours' holds numbers of genes that do not exist."
            raise ValueError(msg)

    def drawn_genes(self, n: int | None, rng: torch.Generator) -> Tensor | None:
        """A random `n` of the genes, in order."""
        if n is None or n >= self.n_genes:
            return None
        return torch.randperm(self.n_genes, generator=rng, device=rng.device)[:n].sort().values


@torch.no_grad()
def coexpressed(cells: Tensor, n_neighbours: int = N_NEIGHBOURS) -> Tensor:
    """Numbers ``(G, k)`` of the genes with the largest absolute correlation to each gene of cells ``(n, G)``, itself first."""
    centred = cells - cells.mean(0)
    centred = centred / centred.norm(dim=0).clamp_min(1e-8)
    similarity = (centred.T @ centred).abs()
    # a gene without variance is also its own neighbour
    similarity.fill_diagonal_(2.0)
    return similarity.topk(min(n_neighbours, cells.shape[1]), dim=1).indices
