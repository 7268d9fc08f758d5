"""The same code on a GPU: its speed, the share of the peak, and agreement with the CPU."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

import scperturbrl as spr
from benchmarks.speed.row import Row, at_least, limit
from benchmarks.speed.scoring import take
from benchmarks.speed.screen import screen
from scperturbrl import verifiers
from scperturbrl._core import keys
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.generator.stored import StoredGenerator, read_generator
from scperturbrl.data.latent.cells import Controls, latent_cells
from scperturbrl.data.reference.stored import read_reference
from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.generator import Generator
from scperturbrl.flow.training import fit
from scperturbrl.flow.training.finite_steps import FiniteSteps
from scperturbrl.flow.training.fit import FitSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.training.latent_cells import LatentCells

PART = "gpu"
GENES, BATCH = 1000, 48
BATCHES = (256, 8192, 65_536)
N_LATENT, REPEATS = 131_072, 16


def measure(device: str = "cuda") -> list[Row]:
    """All rows; none without a CUDA device."""
    if not torch.cuda.is_available():
        print("no CUDA device: nothing measured")
        return []
    peak, copied = ceilings(device)
    adata = screen(20_000, 2000, 70)
    spr.pp.reference(adata)
    return [
        Row(PART, f"{torch.cuda.get_device_name()}, matrix products in bfloat16", peak / 1e12, "TFLOP/s"),
        Row(PART, "copies on the device", copied / 1e12, "TB/s"),
        *transformer(device, peak),
        *agreement(adata, device),
        *perceptron(adata, device),
        *scoring(adata, device),
    ]


def wall(work: Callable[[], object], *, repeats: int = 5) -> float:
    """Median wall-clock seconds of `work` on the device, the first time left out."""
    work()
    torch.cuda.synchronize()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return median(found)


def ceilings(device: str) -> tuple[float, float]:
    """Operations a second of a large matrix product in bfloat16, and bytes a second of a large copy (read and written)."""
    a, b = torch.randn(2, 8192, 8192, device=device, dtype=torch.bfloat16)
    source = torch.randn(2**28, device=device)
    target = torch.empty_like(source)
    operations = 2 * 8192**3 / wall(lambda: a @ b, repeats=20)
    return operations, 2 * source.nbytes / wall(lambda: target.copy_(source), repeats=20)


def transformer(device: str, peak: float, *, width: int = 512, n_blocks: int = 4) -> list[Row]:
    """Training steps of the transformer at the size of scDFM, on random cells."""
    rows = []
    for precision, compiled in (("float32", False), ("bfloat16", False), ("bfloat16", True)):
        step, operations, name = _transformer_step(device, precision, width, n_blocks, compiled=compiled)
        try:
            spent = wall(step, repeats=10)
        except Exception as error:  # noqa: BLE001  a compiler may be missing; the other rows are wanted all the same
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}")
            continue
        share = operations / spent / peak
        rows += [
            Row(PART, f"{name}, training step", 1000 * spent, "ms"),
            Row(
                PART,
                f"{name}, share of the matrix products' peak",
                share,
                "of the peak",
                f"{operations / 1e12:.3g} TFLOP a step",
                share / 0.35,
                1.0 if compiled or precision == "bfloat16" else math.nan,
                within_run=False,
            ),
        ]
    rows.append(Row(PART, "memory of all transformer steps", torch.cuda.max_memory_allocated() / 2**30, "GiB"))
    return rows


def _transformer_step(
    device: str, precision: str, width: int, n_blocks: int, *, compiled: bool
) -> tuple[Callable[[], object], float, str]:
    torch.manual_seed(0)
    sizes = Architecture(GENES, GENES, 20, 0, (), width, n_blocks, space="genes", backbone="transformer")
    velocity = Generator(replace(sizes, precision=precision)).to(device).velocity
    optimiser = torch.optim.AdamW(velocity.parameters(), fused=True)
    x, control = torch.randn(2, BATCH, GENES, device=device)
    code, total = torch.randn(2, BATCH, width, device=device)
    t = torch.rand(BATCH, device=device)
    forward = torch.compile(velocity) if compiled else velocity

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        forward(x, t, control, code, total).square().mean().backward()
        optimiser.step()

    with FlopCounterMode(display=False) as counter:
        velocity(x, t, control, code, total).square().mean().backward()
    name = (
        f"transformer {width} x {n_blocks}, {GENES} genes, batch {BATCH}, {precision}{', compiled' if compiled else ''}"
    )
    return step, float(counter.get_total_flops()), name


def agreement(adata: AnnData, device: str) -> list[Row]:
    """The same weights on both devices, and a fit on each: its distance to the real cells, and how long it takes."""
    found = {}
    for where in ("cpu", device):
        began = time.perf_counter()
        spr.tl.fit_generator(adata, key_added=where, device=where, n_steps=500, progress=False)
        history = adata.uns[where]["history"]
        found[where] = time.perf_counter() - began, float(history["validation_energy"].min())
    model = read_generator(adata, "cpu").generator
    inputs = [torch.randn(512, model.architecture.n_latent) for _ in range(2)]
    codes = [torch.randn(512, model.architecture.width) for _ in range(2)]
    t = torch.rand(512)
    with torch.no_grad():
        here = model.velocity(inputs[0], t, inputs[1], *codes)
        there = model.to(device).velocity(*(v.to(device) for v in (inputs[0], t, inputs[1], *codes))).cpu()
    error = float((here - there).norm() / here.norm())
    (cpu_seconds, cpu_distance), (seconds, distance) = found["cpu"], found[device]
    return [
        limit(PART, "velocity, relative difference to the CPU", error, "", most=1e-3),
        Row(PART, "tl.fit_generator, 500 steps", seconds, "s", f"CPU, {cpu_seconds:.3g} s", cpu_seconds / seconds),
        Row(
            PART,
            "validation energy distance after it",
            distance,
            "",
            f"CPU, {cpu_distance:.3g}",
            cpu_distance / distance,
        ),
    ]


def perceptron(adata: AnnData, device: str) -> list[Row]:
    """Training steps, generation and post-training of the default generator."""
    stored = read_generator(adata, "cpu")
    return [*_training(stored, adata, device), *_generation(stored, adata, device), *_post_training(adata, device)]


def _training(stored: StoredGenerator, adata: AnnData, device: str) -> list[Row]:
    cells = Cells.of(adata)
    factor = stored.generator.denoise
    train = latent_cells(cells, keys.TRAIN, stored.generator.space, factor, Controls.of(cells))
    if train is None:
        return []
    generator, conditions = stored.generator.to(device).train(), stored.vocabulary.batch(cells.table).to(device)
    resident, rows = train.to(device), []
    for batch, compiled in [(BATCHES[0], False), *((batch, own) for batch in BATCHES[1:] for own in (False, True))]:
        step = _fit_step(generator, resident, conditions, FitSettings(batch_size=batch, compile=compiled))
        speed = batch / wall(step, repeats=20)
        name = f"mlp, training, batch {batch:,}{', compiled' if compiled else ''}"
        row = at_least(PART, name, speed, "cells/s", least=2e6)
        # a small batch cannot fill the device
        rows.append(row if batch > BATCHES[0] else replace(row, stated=math.nan))
    generator.eval().cpu()
    return rows


def _fit_step(
    generator: Generator, train: LatentCells, conditions: ConditionBatch, settings: FitSettings
) -> Callable[[], object]:
    optimiser, velocity = fit._optimiser(generator.network_parameters(), settings), fit._field(generator, settings)
    finite = FiniteSteps(generator.named_network_parameters(), clip=settings.gradient_clip)
    rng = torch.Generator().manual_seed(0)
    given = (generator, velocity, conditions, settings, optimiser, rng, finite, train)
    return lambda: fit._training_step(*given, settings.batch_size)


def _generation(stored: StoredGenerator, adata: AnnData, device: str) -> list[Row]:
    n = N_LATENT
    generator = stored.generator.to(device)
    cells = Cells.of(adata)
    conditions = stored.vocabulary.batch(cells.table).to(device)
    control = torch.zeros(n, generator.architecture.n_latent, device=device)
    index = (torch.arange(n) % len(conditions)).to(device)

    def draw() -> None:
        with torch.no_grad():
            generator.sample_latent(control, conditions, index, torch.Generator(device).manual_seed(0))

    latent = n / wall(draw)
    generator.cpu()
    perturbed = int((adata.obs["perturbation"] != "control").sum())
    whole = perturbed / wall(lambda: spr.tl.generate(adata, key="cpu", device=device), repeats=1)
    return [
        at_least(PART, "mlp, latent cells", latent, "cells/s", least=1e6),
        Row(PART, "tl.generate, counts of 2,000 genes and all", whole, "cells/s"),
    ]


def _post_training(adata: AnnData, device: str) -> list[Row]:
    spent = {}
    for where in (device, "cpu"):
        spr.tl.rl_finetune(adata, key="cpu", key_added="rl", device=where, n_iterations=1)
        began = time.perf_counter()
        spr.tl.rl_finetune(adata, key="cpu", key_added="rl", device=where, n_iterations=8)
        spent[where] = time.perf_counter() - began
    reference = f"CPU, {spent['cpu']:.3g} s"
    return [Row(PART, "tl.rl_finetune, 8 iterations", spent[device], "s", reference, spent["cpu"] / spent[device])]


def scoring(adata: AnnData, device: str) -> list[Row]:
    """The four default verifiers on cells that are on the device."""
    cells = Cells.of(adata)
    chosen = verifiers.registry.resolve()
    _, reference = read_reference(adata, cells, chosen)
    sample = take(cells, reference)
    expected = torch.stack([verifier(sample.cells, sample.reference) for verifier in chosen], -1)
    scored, there = sample.cells.to(device), sample.reference.to(device)
    score = lambda cells: torch.stack([verifier(cells, there) for verifier in chosen], -1)
    error = float((score(scored).cpu() - expected).abs().nan_to_num(0).max())
    # enough cells to use the whole device
    many = scored.repeat(1, REPEATS, 1)
    speed = many.shape[0] * many.shape[1] / wall(lambda: score(many))
    return [
        limit(PART, "four verifiers, largest difference to the CPU", error, "", most=1e-3),
        at_least(PART, "four verifiers, 2,000 genes", speed, "cells/s", least=5e6),
    ]
