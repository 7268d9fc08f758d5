"""The generator: space, condition encoder, velocity and observation layer as one object."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scperturbrl._core.random import torch_rng
from scperturbrl._core.show import as_html, as_text
from scperturbrl.flow.architecture import Architecture, described_space, read_architecture
from scperturbrl.flow.condition_encoder import ConditionBatch, ConditionEncoder
from scperturbrl.flow.control_cells import ControlCells
from scperturbrl.flow.counted_cells import counted_cells
from scperturbrl.flow.generated_blocks import generated_blocks
from scperturbrl.flow.initial_weights import OwnDraws
from scperturbrl.flow.linear_part import LinearPart
from scperturbrl.flow.observation.carry import ControlCounts
from scperturbrl.flow.parts import empty_observation, empty_space, new_velocity
from scperturbrl.flow.path import Source
from scperturbrl.flow.sampler import integrate
from scperturbrl.flow.weights import checked_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


class Generator(nn.Module):
    """Conditional flow-matching generator of perturbed cells.

    Gaussian noise, or a control cell with some noise, becomes a latent cell by following a velocity that depends on the
    control cell and the condition; the observation layer turns the latent cell into counts at the control cell's
    library size. The space is that of principal components or of scVI with a negative-binomial layer, or that of the
    genes with one that rounds to whole counts.

    Parameters
    ----------
    architecture
        Sizes.
    seed
        Seed of the initial weights of encoder and velocity. Global random numbers are not used.

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
        self.space = empty_space(a)
        with OwnDraws(torch_rng(seed, "weights before training")):
            self.encoder = ConditionEncoder(a.n_tokens, a.n_features, a.n_covariate_values, a.width)
            self.velocity = new_velocity(a)
        self.observation = empty_observation(a)
        # share of the deviation of a latent cell from the mean of its condition that is not count noise
        self.denoise: Tensor
        self.register_buffer("denoise", torch.ones(a.n_latent))
        self.linear = LinearPart(
            a.n_groups,
            a.n_tokens,
            a.n_latent,
            a.n_features,
            n_genes=a.n_genes,
            n_responses=a.n_responses,
            n_conditions=a.n_conditions,
            n_contexts=a.n_contexts,
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
            "Velocity": f"{a.backbone}, {a.n_blocks} blocks of width {a.width}, {a.solver_steps} {a.solver} steps",
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
        """Draw latent cells ``(n, d)`` for control cells ``(n, d)`` and the conditions at `index` ``(n,)``.

        For translated conditions nothing is drawn, because :meth:`cell_log_rate` shifts the control cells.
        """
        start = self.source.draw(control, rng)
        if conditions.translated is None:
            return self._carry(start, control, conditions, index)
        latent, own = control.clone(), torch.nonzero(~conditions.translated[index]).flatten()
        if len(own):
            latent[own] = self._carry(start[own], control[own], conditions, index[own])
        return latent

    @torch.no_grad()
    def approach(self, control: Tensor, conditions: ConditionBatch, index: Tensor, rng: torch.Generator) -> Tensor:
        """State of the sampler one step before the cells of :meth:`sample_latent` with the same random numbers."""
        start = self.source.draw(control, rng)
        return self._carry(start, control, conditions, index, range(self.architecture.solver_steps - 1))

    def last_step(self, approach: Tensor, control: Tensor, conditions: ConditionBatch, index: Tensor) -> Tensor:
        """The sampler's last step; the latent cells carry a gradient with respect to the weights."""
        n_steps = self.architecture.solver_steps
        latent = self._carry(approach, control, conditions, index, range(n_steps - 1, n_steps))
        if conditions.translated is None:
            return latent
        return torch.where(conditions.translated[index][:, None], control, latent)

    def _carry(
        self, x: Tensor, control: Tensor, conditions: ConditionBatch, index: Tensor, steps: range | None = None
    ) -> Tensor:
        code, total = self.encoder(conditions)
        if 2 * len(conditions) > len(control):
            rows = code[index], total[index]
            field = lambda x, t: self.velocity(x, t, control, *rows)
        else:
            # all cells have the same time, so terms of time and condition are equal for all cells of a condition
            field = lambda x, t: self.velocity(x, t[:1], control, code, total, index=index)
        return integrate(field, x, n_steps=self.architecture.solver_steps, solver=self.architecture.solver, steps=steps)

    def log_rate(self, latent: Tensor, conditions: ConditionBatch, index: Tensor) -> Tensor:
        """Log rate ``(n, G)`` of latent cells with the shifts of their conditions, in normalised units."""
        shifted = latent + conditions.shift[index]
        # only for the conditions of these cells, because a screen has thousands
        used, own = index.unique(return_inverse=True)
        some = conditions.select(used)
        residual = self.linear.with_own_genes(self.observation.condition_residual(some.tokens), some)
        if some.gene_shift is not None:
            residual = residual + some.gene_shift
        return self.observation.log_rate(shifted, residual[own])

    def cell_log_rate(self, latent: Tensor, control: ControlCells, conditions: ConditionBatch, index: Tensor) -> Tensor:
        """The :meth:`log_rate` ``(n, G)`` of the cells that the generator makes of `control`: of translated conditions the moved control cells."""
        if conditions.translated is not None:
            latent = torch.where(conditions.translated[index][:, None], control.denoised, latent)
        return self.log_rate(latent, conditions, index)

    def sample_cells(
        self,
        latent: Tensor,
        control: ControlCells,
        unit: Tensor,
        conditions: ConditionBatch,
        index: Tensor,
        rng: torch.Generator,
        *,
        differentiable: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Generate cells from latent cells.

        Parameters
        ----------
        latent
            ``(n, d)`` latent cells, as :meth:`sample_latent` gave them.
        control
            The n control cells from which they were generated.
        unit
            ``(n,)`` normalised value of one count in each cell to make.
        conditions, index
            Conditions, and ``(n,)`` the one of each cell.
        rng
            Random generator on the same device.
        differentiable
            Whether the cells carry a gradient with respect to the latent ones.

        Returns
        -------
        Log-normalised cells ``(n, G)`` and their counts ``(n, G)``.
        """
        if differentiable:
            rate = self.cell_log_rate(latent, control, conditions, index)
            return self.observation.sample(rate, unit, rng, control=self.measured(control), differentiable=True)
        return counted_cells(self, latent, control, unit, conditions, index, rng)

    @torch.no_grad()
    def measured(self, control: ControlCells, first: int = 0) -> ControlCounts | None:
        """The counts of control cells, the `first` ones of a block or later ones, that the layer carries over; None if it does not."""
        if not self.observation.carries:
            return None
        expected = self.observation.log_rate(control.denoised) - control.unit.log()[:, None]
        return ControlCounts(control.counts, expected, first)

    def read_controls(self, cells: Tensor, unit: Tensor, centre: Tensor | None = None) -> ControlCells:
        """Convert log-normalised control cells to the input of the generator.

        Parameters
        ----------
        cells
            ``(n, G)`` log-normalised.
        unit
            ``(n,)`` normalised value of one count in each.
        centre
            ``(n, d)`` mean coordinates of the control cells of the group of each; without it no noise is removed.
        """
        latent = self.space.encode(cells)
        denoised = latent if centre is None else centre + self.denoise * (latent - centre)
        # in place, because these arrays are the largest
        return ControlCells(latent, denoised, torch.expm1(cells).div_(unit[:, None]).round_(), unit)

    def generate(
        self,
        control: Tensor,
        unit: Tensor,
        conditions: ConditionBatch,
        index: Tensor,
        *,
        wanted_unit: Tensor | None = None,
        seed: int,
    ) -> tuple[Tensor, Tensor]:
        """Generate cells; the same seed gives the same cells, and a cell does not depend on those after it.

        If the memory of the device does not suffice, blocks are generated in parts, with a warning and with other
        random numbers.

        Parameters
        ----------
        control
            ``(n, G)`` log-normalised control cells.
        unit
            ``(n,)`` normalised value of one count in each.
        conditions, index
            Conditions, and ``(n,)`` the one wanted for each cell.
        wanted_unit
            ``(n,)`` normalised value of one count in each generated cell; that of its control cell by default.
        seed
            Seed.

        Returns
        -------
        Log-normalised cells ``(n, G)`` and their counts ``(n, G)``, on the CPU.
        """
        cells, start = torch.empty(len(unit), self.architecture.n_genes), 0
        counts = torch.empty_like(cells)
        wanted = unit if wanted_unit is None else wanted_unit
        read = lambda rows: self.read_controls(control[rows].to(self.device), unit[rows].to(self.device))
        for block, own in generated_blocks(self, read, wanted, conditions, index, seed=seed):
            part = slice(start, start + len(block))
            cells[part], counts[part] = block, own
            start = part.stop
        return cells, counts

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Weights as a flat dictionary of float32 arrays."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, architecture: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Generator:
        """Build a generator from the results of :meth:`to_arrays` and ``dataclasses.asdict(architecture)``.

        Raises
        ------
        ValueError
            If a weight is missing, unknown, of another type or shape, not finite or impossible, or a size is invalid;
            the message names the first one.
        """
        sizes = read_architecture(architecture)
        with torch.device("meta"):
            # on the meta device, so that absurd sizes are found before anything is allocated
            expected = cls(sizes).state_dict()
        state = checked_weights(expected, weights)
        generator = cls(sizes)
        generator.load_state_dict(generator.state_dict() | state)
        generator.velocity.check()
        return generator.eval()

    def architecture_dict(self) -> dict[str, Any]:
        """Architecture as plain values."""
        return {**asdict(self.architecture), "n_covariate_values": list(self.architecture.n_covariate_values)}
