"""Training of the velocity by flow matching."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scperturbrl._core.distributed import any_of_all, equalise, of_first, shared_draws, world
from scperturbrl._core.interrupt import step_boundary_interrupt
from scperturbrl._core.machine.memory import BatchSize
from scperturbrl._core.progress import progress_bar
from scperturbrl._core.random import on_device, torch_rng
from scperturbrl.flow.training.finite_steps import FiniteSteps
from scperturbrl.flow.training.latent_cells import LatentCells, Pairing
from scperturbrl.flow.training.loss import flow_matching_loss
from scperturbrl.flow.training.run import FitRun, RunResult
from scperturbrl.flow.training.weight_state import WeightAverage, WeightState, restore, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scperturbrl._core.files.run_file import RunFile
    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.generator import Generator


# upper bound on the early steps that cannot be chosen as best
EARLY = 312


@dataclass
class FitSettings:
    """Settings of :func:`fit_flow`; see :func:`scperturbrl.tl.fit_generator` for their meaning."""

    n_steps: int = 2500
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    ema_decay: float = 0.999
    gradient_clip: float = 1.0
    token_dropout: float = 0.1
    covariate_dropout: float = 0.5
    genes_per_step: int | None = None
    compile: bool = False
    validate_every: int = 100
    patience: int = 10
    max_seconds: float | None = None
    keep_best: bool = True
    seed: int = 0
    progress: bool | None = None


@dataclass
class FitResult(RunResult):
    """Result of training besides the weights: `history` with one row per validation, the best step, and why training ended."""

    stopped: str = "all steps done"
    best_step: int = 0


def fit_flow(
    generator: Generator,
    train: LatentCells,
    validation: LatentCells | None,
    conditions: ConditionBatch,
    settings: FitSettings,
    distance: Callable[[Generator], float] | None = None,
    *,
    names: Sequence[str] | None = None,
    file: RunFile | None = None,
    state: dict[str, Any] | None = None,
) -> FitResult:
    """Train encoder and velocity; the weights end as the averaged weights of the best validation.

    The best validation is the one with generated cells closest to the real cells. The flow-matching loss is not used,
    because for an unseen condition it may rise long before or after the generated population gets worse.

    Parameters
    ----------
    generator
        Model to train in place.
    train, validation
        Cells. Without validation cells, training does not stop early.
    conditions
        Conditions, indexed by the codes of cells.
    settings
        Settings.
    distance
        Distance of generated to real validation cells.
    names
        Names of the conditions, for messages.
    file, state
        File for the state of the run, and a state from which to continue.

    Raises
    ------
    FloatingPointError
        If no step, or no validation, had finite values.
    """
    equalise(generator)
    parameters = generator.network_parameters()
    optimiser = _optimiser(parameters, settings)
    average = WeightAverage(parameters, settings.ema_decay)
    rng = torch_rng(settings.seed, "training steps")
    pairing, validation = _paired(train, validation, generator, settings)
    result, best = FitResult(), _Best(settings, compares=distance is not None)
    finite = FiniteSteps(generator.named_network_parameters(), clip=settings.gradient_clip, conditions=names)
    run = FitRun(WeightState(parameters, [optimiser], average), rng, result, finite, file, best).resumed(state)
    take = partial(_training_step, generator, _field(generator, settings), conditions, settings, optimiser, rng, finite)
    batch = BatchSize(settings.batch_size, "cells of a training step")
    start = time.perf_counter() - result.seconds
    with (
        step_boundary_interrupt() as interrupt,
        progress_bar("fitting the generator", settings.n_steps, show=settings.progress) as show,
    ):
        for step in run.remaining(settings.n_steps):
            result.seconds = of_first({"seconds": time.perf_counter() - start})["seconds"]
            optimiser.param_groups[0]["lr"] = settings.learning_rate * _decay(step, result.seconds, settings)
            loss = batch(partial(take, pairing.at(step)))
            run.note_loss(step, loss, settings.validate_every)
            end = _reason_to_end(step, result.seconds, settings, interrupted=any_of_all(flag=interrupt.requested))
            regular = step % settings.validate_every == 0 or step == settings.n_steps
            if end and not regular:
                # before the validation, which an uninterrupted run would not do here
                run.keep(now=True)
            if regular or end:
                average.swap()
                row = of_first(_validate(generator, validation, conditions, settings, distance))
                best.offer(step, row["validation_energy"], parameters)
                average.swap()
                result.history.append({"step": step, "loss": run.running, **row})
                show(step, f"loss {run.running:.3f}, validation energy distance {row['validation_energy']:.3f}")
            end = finite.reason_to_end() or end or best.reason_to_end(step)
            if regular:
                run.keep(end, now=bool(end))
            if end:
                result.stopped = end
                break
    run.finish(time.perf_counter() - start)
    restore(parameters, best.weights)
    return result


def _field(generator: Generator, settings: FitSettings) -> Callable[..., Tensor]:
    return torch.compile(generator.velocity) if settings.compile else generator.velocity


def _optimiser(parameters: Sequence[torch.nn.Parameter], settings: FitSettings) -> torch.optim.Optimizer:
    # one kernel instead of a dozen, because kernel launches dominate the time
    fused = parameters[0].device.type == "cuda"
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)


def _paired(
    train: LatentCells, validation: LatentCells | None, generator: Generator, settings: FitSettings
) -> tuple[Pairing, LatentCells | None]:
    pair = partial(Pairing, source=generator.source, seed=settings.seed, every=settings.validate_every)
    device = generator.device if train.fits_on(generator.device) else torch.device("cpu")
    return pair(train, device=device), None if validation is None else pair(validation).at(1)


class _Best:
    """The best weights so far; the last ones if there is no comparison."""

    def __init__(self, settings: FitSettings, *, compares: bool) -> None:
        self.settings, self.compares = settings, compares and settings.keep_best
        self.value, self.step, self.weights = math.inf, 0, list[Tensor]()

    def offer(self, step: int, value: float, parameters: list[torch.nn.Parameter]) -> None:
        # early weights can match means before they have learnt any spread, so they are not considered
        too_early = self.compares and step < min(self.settings.n_steps / 8, EARLY)
        if too_early or not self.compares or value < self.value:
            self.value = math.inf if too_early else value
            self.step, self.weights = step, snapshot(parameters)

    def reason_to_end(self, step: int) -> str:
        waited = (step - self.step) / self.settings.validate_every
        return "no improvement" if self.compares and waited >= self.settings.patience else ""


def _reason_to_end(step: int, seconds: float, settings: FitSettings, *, interrupted: bool) -> str:
    if interrupted:
        return "interrupted"
    if settings.max_seconds is not None and seconds > settings.max_seconds:
        return "out of time"
    return "all steps done" if step == settings.n_steps else ""


def _validate(
    generator: Generator,
    cells: LatentCells | None,
    conditions: ConditionBatch,
    settings: FitSettings,
    distance: Callable[[Generator], float] | None,
) -> dict[str, float]:
    return {
        "validation_loss": validation_loss(generator, cells, conditions, settings) if cells else math.nan,
        "validation_energy": distance(generator) if distance else math.nan,
    }


def _training_step(
    generator: Generator,
    velocity: Callable[..., Tensor],
    conditions: ConditionBatch,
    settings: FitSettings,
    optimiser: torch.optim.Optimizer,
    rng: torch.Generator,
    finite: FiniteSteps,
    train: LatentCells,
    batch_size: int,
) -> float:
    device = generator.device
    noise_rng = on_device(rng, device)
    # random numbers are drawn on the device of the cells
    cells, control, index = train.draw(batch_size, noise_rng if train.latent.device.type == device.type else rng)
    # perturbations with features must also be predictable from features alone, like unseen ones
    known = conditions.features.abs().sum(-1) > 0
    keep = (torch.rand(conditions.tokens.shape, generator=rng) >= settings.token_dropout).to(device) | ~known
    # contexts without perturbed training cells use the code "unknown", so this code must be trained
    keep_context = torch.rand(conditions.covariates.shape, generator=rng) >= settings.covariate_dropout
    batch = conditions.forgetting(keep, keep_context.to(device))
    own = world().share(batch_size)
    cells, control, index = (part[own].to(device) for part in (cells, control, index))
    with shared_draws(batch_size):
        options: dict[str, Any] = {"n_genes": settings.genes_per_step, "velocity": velocity}
        losses = flow_matching_loss(generator, cells, control, batch, index, noise_rng, **options)
    return finite.step(optimiser, losses, index)


@torch.no_grad()
def validation_loss(
    generator: Generator, cells: LatentCells, conditions: ConditionBatch, settings: FitSettings
) -> float:
    """Flow-matching loss on up to 2,048 cells, with the same noise, times and pairs at every call."""
    rng = torch_rng(settings.seed, "validation loss")
    index = torch.randperm(len(cells.latent), generator=rng)[:2048]
    latent, control, codes = cells.pair(index, rng)
    device = generator.device
    losses = flow_matching_loss(
        generator, latent.to(device), control.to(device), conditions, codes.to(device), on_device(rng, device)
    )
    return float(losses.mean())


def _decay(step: int, seconds: float, settings: FitSettings) -> float:
    """Factor of the learning rate: short warm-up, then cosine down to 2 % over the number of steps or the time limit."""
    done = step / settings.n_steps
    if settings.max_seconds is not None:
        done = max(done, min(1.0, seconds / settings.max_seconds))
    return min(1.0, step / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
