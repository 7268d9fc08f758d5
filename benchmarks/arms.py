"""The models of the grid: our generator under several treatments, and competitors behind one interface.

``generator_longer`` is trained on for as many CPU seconds as ``generator_rl`` took. ``energy_only`` is post-training without
rewards, ``rewards_only`` without the energy distance. ``unguarded`` rewards raw scores without anchor, energy distance or
guard, which is how rewards get hacked; ``unguarded_60`` does so for 60 rounds. ``best_of_8`` trains nothing: it keeps one in eight cells of ``generator`` by their reward;
nor does ``whole_effects``, which is ``generator`` without the magnitude of unseen effects, or ``right_means``, which is no model but
``generator`` moved to the means of the held-out cells themselves.
``nearest_embedding`` and ``embedding_ridge`` are baselines for perturbations that training never saw.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import scperturbrl as spr
from benchmarks.adapters import ADAPTERS
from benchmarks.clock import steps_for, stopwatch
from benchmarks.embedding_baselines import embedding_ridge, nearest_embedding
from benchmarks.right_means import right_means

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from anndata import AnnData

    from benchmarks.suites import Prepared

BASELINES = "baselines"
BASE, LONGER, RL = "generator", "generator_longer", "generator_rl"


@dataclass(frozen=True)
class Arm:
    """A model of the grid.

    Attributes
    ----------
    name
        Identifier, also the key of the generator.
    needs
        Arms whose generator or time it builds on.
    make
        Fits it into ``uns[name]``, given the data, the seed and the CPU seconds of what it needs. None for an adapter.
    draw
        Instead of `make`, for an arm that is no generator of its own: so many cells of each test condition, given the data and the seed.
    """

    name: str
    needs: tuple[str, ...] = ()
    make: Callable[[Prepared, int, Mapping[str, float]], None] | None = field(default=None)
    draw: Callable[[AnnData, int, int], AnnData] | None = field(default=None)


def _fit(prepared: Prepared, seed: int, seconds: Mapping[str, float]) -> None:
    del seconds
    spr.tl.fit_generator(prepared.adata, key_added=BASE, embeddings=prepared.embeddings, seed=seed)


def _longer(prepared: Prepared, seed: int, seconds: Mapping[str, float]) -> None:
    def train(n_steps: int) -> None:
        options: dict[str, Any] = {"n_steps": n_steps, "learning_rate": 3e-4, "seed": seed}
        spr.tl.fit_generator(prepared.adata, init_from=BASE, key_added=LONGER, **options)

    train(steps_for(seconds[RL], train))


def _best_of_8(adata: AnnData, n_cells: int, seed: int) -> AnnData:
    """The best of eight by the default reward; conditions without training cells are judged by a guess from their parts."""
    made = spr.tl.predict(adata, key=BASE, n_cells=8 * n_cells, seed=seed)
    spr.tl.score(made, reference=adata, pseudo_references="ridge")
    spr.tl.select(made, n=8, seed=seed)
    return made[made.obs["generated_selected"].to_numpy()].copy()


def _whole_effects(prepared: Prepared, seed: int, seconds: Mapping[str, float]) -> None:
    """`generator` with effects of unseen combinations as large as flow and linear part promise; its cells have the same noise."""
    del seed, seconds
    stored = prepared.adata.uns[BASE]
    weights = {**stored["weights"], "linear.magnitude": np.float32(1)}
    prepared.adata.uns["whole_effects"] = {**stored, "weights": weights}


def finetuned(name: str, **options: Any) -> Arm:
    """``generator`` post-trained with these options of :func:`scperturbrl.tl.rl_finetune`."""

    def make(prepared: Prepared, seed: int, seconds: Mapping[str, float]) -> None:
        del seconds
        spr.tl.rl_finetune(prepared.adata, key=BASE, key_added=name, seed=seed, **options)

    return Arm(name, (BASE,), make)


UNGUARDED: dict[str, Any] = {
    "calibrate": False,
    "update_rule": "nft",
    "anchor": 0.0,
    "energy_steps": 0,
    "guard": False,
}
ARMS = {
    arm.name: arm
    for arm in (
        Arm(BASELINES),
        Arm(BASE, (), _fit),
        Arm(LONGER, (BASE, RL), _longer),
        finetuned(RL),
        finetuned("energy_only", reward_steps=0),
        finetuned("rewards_only", energy_steps=0),
        finetuned("unguarded", **UNGUARDED),
        finetuned("unguarded_60", n_iterations=60, **UNGUARDED),
        Arm("best_of_8", (BASE,), draw=_best_of_8),
        Arm("whole_effects", (BASE,), _whole_effects),
        Arm("right_means", (BASE,), draw=lambda adata, n_cells, seed: right_means(adata, BASE, n_cells, seed)),
        Arm("nearest_embedding", draw=nearest_embedding),
        Arm("embedding_ridge", draw=embedding_ridge),
        *(Arm(name) for name in ADAPTERS),
    )
}
DEFAULT = [BASELINES, BASE, RL, LONGER, "energy_only", "unguarded"]


def fitted(arm: Arm, prepared: Prepared, seed: int, folder: Path, seconds: dict[str, float]) -> None:
    """Put the generator of `arm` into the data: what was saved before, or a new one that is then saved.

    The CPU seconds of fitting go to ``seconds[arm.name]`` and with the generator into its folder.
    """
    adata = prepared.adata
    if arm.make is None or arm.name in adata.uns:
        return
    saved, clock = folder / arm.name, folder / f"{arm.name}.seconds"
    if saved.exists() and clock.exists():
        spr.tl.load_generator(adata, saved, key_added=arm.name)
        seconds[arm.name] = float(clock.read_text())
        return
    for name in arm.needs:
        fitted(ARMS[name], prepared, seed, folder, seconds)
    with stopwatch() as watch:
        arm.make(prepared, seed, seconds)
    seconds[arm.name] = watch.seconds if arm.name != LONGER else seconds[RL]
    folder.mkdir(parents=True, exist_ok=True)
    spr.tl.save_generator(adata, saved, key=arm.name, overwrite=True)
    clock.write_text(f"{watch.seconds:.3f}")
