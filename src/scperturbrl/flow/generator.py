"""The generator: space, condition encoder, velocity and observation layer as one object."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scperturbrl._core.memory import BatchSize
from scperturbrl._core.random import torch_rng
from scperturbrl._core.show import as_html, as_text
from scperturbrl._core.threads import stream_in_threads
from scperturbrl._core.validate import check_choice
from scperturbrl.flow.architecture import Architecture, described_space, read_architecture
from scperturbrl.flow.condition_encoder import ConditionBatch, ConditionEncoder
from scperturbrl.flow.linear_part import LinearPart
from scperturbrl.flow.observation.lattice import LatticeObservation
from scperturbrl.flow.observation.nb import NegativeBinomialObservation
from scperturbrl.flow.observation.scvi import ScviObservation
from scperturbrl.flow.own_draws import OwnDraws
from scperturbrl.flow.sampler import integrate
from scperturbrl.flow.source import Source
from scperturbrl.flow.space.base import SPACES, GeneSpace, PCASpace
from scperturbrl.flow.space.scvi import ScviSpace, TwoLayers
from scperturbrl.flow.velocity.base import BACKBONES, PRECISIONS
from scperturbrl.flow.velocity.mlp import VelocityMLP
from scperturbrl.flow.velocity.transformer import VelocityTransformer
from scperturbrl.flow.weights import checked_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np

    from scperturbrl.flow.observation.base import Observation
    from scperturbrl.flow.space.base import Space
    from scperturbrl.flow.velocity.base import Velocity

# cells are drawn in blocks of this size, each with its own random stream, so results do not depend on memory settings
BLOCK = 512


class Generator(nn.Module):
    """Conditional flow-matching generator of perturbed cells.

    A Gaussian noise, or a control cell with some noise, becomes a latent cell by following a velocity that knows the control
    cell and the condition; the observation layer turns the latent cell into counts at the control cell's library size. The space is
    that of principal components or of scVI with a negative-binomial layer, or that of the genes with one that rounds to whole counts.

    Parameters
    ----------
    architecture
        Sizes.
    seed
        Of the weights of encoder and velocity before training. The random numbers of the process are left alone.

    Examples
    --------
    >>> from scperturbrl.flow.architecture import Architecture
    >>> from scperturbrl.flow.generator import Generator
    >>> generator = Generator(Architecture(n_genes=5, n_latent=2, n_tokens=3, n_features=0, n_covariate_values=()))
    >>> generator.architecture.n_latent
    2
    """

    def __init__(self, architecture: Architecture, *, seed: int = 0) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.source = Source(a.source)
        self.space = _space(a)
        with OwnDraws(torch_rng(seed, "weights before training")):
            self.encoder = ConditionEncoder(a.n_tokens, a.n_features, a.n_covariate_values, a.width)
            self.velocity = _velocity(a)
        self.observation = _observation(a)
        self.linear = LinearPart(
            a.n_groups,
            a.n_tokens,
            a.n_latent,
            a.n_features,
            n_genes=a.n_genes,
            n_responses=a.n_responses,
            n_conditions=a.n_conditions,
        )

    def __repr__(self) -> str:
        """Show sizes instead of a tree of layers."""
        return as_text("Generator", self._rows())

    def _repr_html_(self) -> str:
        return as_html("Generator", self._rows())

    def _rows(self) -> dict[str, str]:
        a = self.architecture
        count = sum(value.numel() for value in self.state_dict().values())
        return {
            "Space": described_space(a.space, a.n_latent, a.n_genes),
            "Knows": f"{a.n_tokens} perturbations by name, others by {a.n_features} features",
            "Covariates": ", ".join(f"{n} values" for n in a.n_covariate_values) or "none",
            "Velocity": f"{a.backbone}, {a.n_blocks} blocks of width {a.width}, {a.n_steps} {a.solver} steps",
            "Starts at": "noise" if self.source.is_gaussian else "control cells",
            "Parameters": f"{count:,}",
            "Device": str(self.device),
        }

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.space.mean.device

    def network_parameters(self) -> list[nn.Parameter]:
        """Parameters that training changes: those of encoder and velocity."""
        return [*self.encoder.parameters(), *self.velocity.parameters()]

    def named_network_parameters(self) -> dict[str, nn.Parameter]:
        """:meth:`network_parameters` by name, in the same order."""
        return {name: value for name, value in self.named_parameters() if name.startswith(("encoder.", "velocity."))}

    @torch.no_grad()
    def sample_latent(self, control: Tensor, conditions: ConditionBatch, index: Tensor, rng: torch.Generator) -> Tensor:
        """Draw latent cells ``(n, d)`` for control cells ``(n, d)`` and the conditions at `index` ``(n,)``."""
        return self._carry(self.source.draw(control, rng), control, conditions, index)

    @torch.no_grad()
    def approach(self, control: Tensor, conditions: ConditionBatch, index: Tensor, rng: torch.Generator) -> Tensor:
        """Where the sampler is one step before the cells that :meth:`sample_latent` draws with the same random numbers."""
        start = self.source.draw(control, rng)
        return self._carry(start, control, conditions, index, range(self.architecture.n_steps - 1))

    def last_step(self, approach: Tensor, control: Tensor, conditions: ConditionBatch, index: Tensor) -> Tensor:
        """The sampler's last step; the latent cells carry a gradient with respect to the weights."""
        n_steps = self.architecture.n_steps
        return self._carry(approach, control, conditions, index, range(n_steps - 1, n_steps))

    def _carry(
        self, x: Tensor, control: Tensor, conditions: ConditionBatch, index: Tensor, steps: range | None = None
    ) -> Tensor:
        code, total = self.encoder(conditions)
        if 2 * len(conditions) > len(control):
            rows = code[index], total[index]
            field = lambda x, t: self.velocity(x, t, control, *rows)
        else:
            # all cells are at the same time, so what time and condition decide is the same for the cells of a condition
            field = lambda x, t: self.velocity(x, t[:1], control, code, total, index=index)
        return integrate(field, x, n_steps=self.architecture.n_steps, solver=self.architecture.solver, steps=steps)

    def log_rate(self, latent: Tensor, conditions: ConditionBatch, index: Tensor) -> Tensor:
        """Log rate ``(n, G)`` of latent cells, shifted as their conditions say, in normalised units."""
        shifted = latent + conditions.shift[index]
        # of the conditions that these cells are of: a screen has thousands
        used, own = index.unique(return_inverse=True)
        some = conditions.select(used)
        residual = self.linear.with_own_genes(self.observation.condition_residual(some.tokens), some)
        return self.observation.log_rate(shifted, residual[own])

    def generate(
        self, control: Tensor, unit: Tensor, conditions: ConditionBatch, index: Tensor, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Generate cells; the same seed gives the same cells, and a cell does not depend on those after it.

        Where the memory of the device does not suffice, blocks are generated in parts, with a warning and with random
        numbers of their own.

        Parameters
        ----------
        control
            ``(n, G)`` log-normalised control cells.
        unit
            ``(n,)`` normalised value of one count in each.
        conditions, index
            Conditions, and ``(n,)`` the one wanted for each cell.
        seed
            Seed.

        Returns
        -------
        Log-normalised cells ``(n, G)`` and their counts ``(n, G)``, on the CPU.
        """
        cells = torch.empty(len(unit), self.architecture.n_genes)
        counts = torch.empty_like(cells)
        start = 0
        for block, own in self.blocks(control.__getitem__, unit, conditions, index, seed=seed):
            part = slice(start, start + len(block))
            cells[part], counts[part] = block, own
            start = part.stop
        return cells, counts

    @torch.no_grad()
    def blocks(
        self,
        control: Callable[[Tensor], Tensor],
        unit: Tensor,
        conditions: ConditionBatch,
        index: Tensor,
        *,
        seed: int,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What :meth:`generate` gives, 512 cells at a time; `control` is a function from their numbers to control cells."""

        def block(number: int, wanted: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
            # filled up to whole blocks, because what a random stream gives depends on how much is drawn at once
            rows = torch.cat([wanted, wanted.new_zeros(BLOCK - len(wanted))])
            parts = rows.split(size)
            drawn = []
            for part, own in enumerate(parts):
                numbers = (number,) if len(parts) == 1 else (number, part)
                rng = torch_rng(seed, "generated block", *numbers, device=self.device)
                drawn.append(self._draw(control(own), unit[own], conditions, index[own], rng))
            return drawn

        batch = BatchSize(BLOCK, "generated cells")
        # on another device blocks wait for each other anyway
        each = stream_in_threads if self.device.type == "cpu" else map
        numbered = list(enumerate(torch.arange(len(unit)).split(BLOCK)))
        for (_, wanted), drawn in zip(numbered, each(lambda one: batch(partial(block, *one)), numbered), strict=True):
            cells, counts = (torch.cat(parts)[: len(wanted)] for parts in zip(*drawn, strict=True))
            yield cells, counts

    def _draw(
        self, control: Tensor, unit: Tensor, conditions: ConditionBatch, index: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        own = index.to(self.device)
        latent = self.sample_latent(self.space.encode(control.to(self.device)), conditions, own, rng)
        drawn = self.observation.sample(self.log_rate(latent, conditions, own), unit.to(self.device), rng)
        return drawn[0].cpu(), drawn[1].cpu()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Weights as a flat dictionary of float32 arrays."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, architecture: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Generator:
        """Build a generator from what :meth:`to_arrays` and ``dataclasses.asdict(architecture)`` gave.

        Raises
        ------
        ValueError
            If a weight is missing, unknown, of another type or shape, not finite or not possible, or a size is none; the first one is
            named.
        """
        sizes = read_architecture(architecture)
        with torch.device("meta"):
            # without memory, so that absurd sizes are found before anything is allocated
            expected = cls(sizes).state_dict()
        state = checked_weights(expected, weights)
        generator = cls(sizes)
        generator.load_state_dict(generator.state_dict() | state)
        generator.velocity.check()
        return generator.eval()

    def architecture_dict(self) -> dict[str, Any]:
        """Architecture as plain values."""
        return {**asdict(self.architecture), "n_covariate_values": list(self.architecture.n_covariate_values)}


def _space(a: Architecture) -> Space:
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


def _velocity(a: Architecture) -> Velocity:
    check_choice("backbone", a.backbone, BACKBONES)
    check_choice("precision", a.precision, PRECISIONS)
    kind = VelocityMLP if a.backbone == "mlp" else VelocityTransformer
    return kind(a.n_latent, a.width, a.n_blocks, precision=a.precision)


def _observation(a: Architecture) -> Observation:
    if a.space == "genes":
        return LatticeObservation(a.n_genes, a.total)
    if a.space == "scvi":
        return ScviObservation(a.n_genes, a.n_latent, a.n_hidden, a.n_tokens, a.total)
    return NegativeBinomialObservation(a.n_genes, a.n_latent, a.n_tokens, a.total)
