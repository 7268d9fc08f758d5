from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.condition_encoder import ConditionBatch
from scperturbrl.flow.fit import FitSettings, fit_flow
from scperturbrl.flow.generator import Generator
from scperturbrl.flow.latent_cells import LatentCells
from scperturbrl.rl.reward import Reward
from scperturbrl.rl.rollout import ControlPool
from scperturbrl.rl.task import Task
from scperturbrl.verifiers import Reference, Verifier
from scperturbrl.verifiers.calibration import Calibration

C, D, G, LEVEL = 3, 2, 8, 5.0
CENTRES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])


@dataclass(frozen=True)
class World:
    generator: Generator
    task: Task
    reward: Reward
    validation: Task


def conditions(tokens):
    n = len(tokens)
    return ConditionBatch(
        tokens=torch.tensor(tokens)[:, None],
        features=torch.zeros(n, 1, 0),
        present=torch.ones(n, 1),
        dose=torch.zeros(n),
        covariates=torch.zeros(n, 0, dtype=torch.long),
        shift=torch.zeros(n, 1),
    )


def blank_generator():
    """A generator whose counts are so deep that a cell is its latent point: encode(cells) is close to latent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(Architecture(G, D, C, 0, (), width=32, n_blocks=1))
        generator.space.components.copy_(torch.linalg.qr(torch.randn(G, D)).Q)
    generator.space.mean.fill_(LEVEL)
    generator.observation.intercept.fill_(LEVEL)
    generator.observation.loading.copy_(generator.space.components.T)
    generator.observation.log_theta.fill_(9.0)
    return generator


def latent_cells(n, rng):
    codes = torch.arange(C).repeat_interleave(n)
    latent = CENTRES[codes] + 0.5 * torch.randn(C * n, D, generator=rng)
    control = 0.5 * torch.randn(200, D, generator=rng)
    start, count = torch.zeros(C * n, dtype=torch.long), torch.full((C * n,), 200)
    return LatentCells(latent, codes, control, start, count, torch.ones(C * n))


def coordinate(axis, components, **change):
    """Verifier whose score is one coordinate of the cell."""
    verifier = Verifier(
        name=f"coordinate_{axis}",
        score=lambda cells, reference: (cells - reference.control_mean[:, None]) @ components[:, axis],
        label="Coordinate",
        description="Coordinate of the cell.",
        range=(-float("inf"), float("inf")),
        needs=("control_mean",),
    )
    return replace(verifier, **change)


def reference():
    empty = torch.zeros(C, 0)
    return Reference(
        conditions=tuple("abc"),
        control_mean=torch.full((C, G), LEVEL),
        effect=torch.zeros(C, G),
        ranked_genes=torch.arange(G).expand(C, G),
        n_significant=torch.zeros(C, dtype=torch.long),
        bank=torch.zeros(C, 1, G),
        network=torch.zeros(G, 0),
        pathway_response=empty,
        pathway_weight=empty,
        pathway_scale=empty,
    )


def calibration(n_verifiers=1, *, weight=None):
    shape = (C, n_verifiers)
    weight = torch.ones(shape) if weight is None else torch.tensor(weight)
    return Calibration(torch.zeros(shape), torch.full(shape, 2.0), torch.ones(shape), weight)


@pytest.fixture(scope="session")
def trained_world():
    generator, rng = blank_generator(), torch_rng(0)
    cells = latent_cells(300, rng)
    settings = FitSettings(n_steps=300, learning_rate=4e-3, ema_decay=0.99, validate_every=300, progress=False)
    fit_flow(generator, cells, None, conditions([1, 2, 3]), settings)
    pool = ControlPool(cells.control, torch.full((200,), 0.02), torch.zeros(C, dtype=torch.long), torch.full((C,), 200))
    real = cells.latent.view(C, 300, D).clone()
    real[1, 250:] = torch.nan
    task = Task(conditions([1, 2, 3]), pool, real)
    verifier = coordinate(0, generator.space.components)
    reward = Reward([verifier], reference(), calibration(), torch.ones(1))
    validation = Task(conditions([1]), ControlPool(pool.latent, pool.unit, pool.start[:1], pool.count[:1]), real[:1])
    return World(generator.eval(), task, reward, validation)


@pytest.fixture
def world(trained_world):
    return replace(trained_world, generator=copy.deepcopy(trained_world.generator))


@pytest.fixture(scope="session")
def make_reward(trained_world):
    def make(*verifiers, weight=None, weights=None, **options):
        n = len(verifiers)
        values = torch.ones(n) if weights is None else torch.tensor(weights)
        return Reward(list(verifiers), reference(), calibration(n, weight=weight), values, **options)

    return make


@pytest.fixture(scope="session")
def make_verifier(trained_world):
    return lambda axis=0, **change: coordinate(axis, trained_world.generator.space.components, **change)
