"""The models of the grid: our generator under several treatments, and competitors behind one interface.

``generator_longer`` gets extra training for as many CPU seconds as ``generator_rl`` took. ``energy_only`` is
post-training without rewards, ``rewards_only`` without the energy distance. ``unguarded`` rewards raw scores without
anchor, energy distance or guard, which is how rewards get hacked. These three have as much time as ``generator_rl``;
``unguarded_60`` goes on for 60 rounds. ``best_of_8`` trains nothing: it keeps one in eight cells of ``generator`` by
their reward; nor does ``whole_effects``, which is ``generator`` with an additivity and a magnitude of 1, or
``right_means``, which is no model but ``generator`` moved to the means of the held-out cells themselves.
``measured_singles`` and ``known_singles`` are oracles too, which know how much of their sum simulated doubles do on
average; the latter knows singles exactly. ``nearest_embedding`` and ``embedding_ridge`` are baselines for unseen
perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import scperturbrl as spr
from benchmarks.adapters import ADAPTERS
from benchmarks.clock import steps_for, stopwatch
from benchmarks.embedding_baselines import embedding_ridge, nearest_embedding
from benchmarks.known_singles import known_singles
from benchmarks.right_means import measured_singles, right_means

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
        Arms whose generator or time it needs.
    make
        Fits it into ``uns[name]``, given the data, the seed and the CPU seconds of what it needs. None for an adapter.
    draw
        Instead of `make`, for an arm without its own generator: returns a number of cells of each test condition, given
        the data and the seed.
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
    """The best of eight by the default reward; conditions without training cells use pseudo-references."""
    made = spr.tl.predict(adata, key=BASE, n_cells=8 * n_cells, seed=seed)
    spr.tl.score(made, reference=adata, pseudo_references="ridge")
    spr.tl.select(made, n=8, seed=seed)
    return made[made.obs["generated_selected"].to_numpy()].copy()


def _whole_effects(prepared: Prepared, seed: int, seconds: Mapping[str, float]) -> None:
    """`generator` with additivity and magnitude 1; its cells have the same noise."""
    del seed, seconds
    stored = prepared.adata.uns[BASE]
    additivity = np.ones(len(stored["weights"]["linear.coefficients"]), dtype=np.float32)
    weights = {**stored["weights"], "linear.additivity": additivity, "linear.magnitude": np.float32(1)}
    prepared.adata.uns["whole_effects"] = {**stored, "weights": weights}


def finetuned(name: str, *, equal_time: bool = False, **options: Any) -> Arm:
    """``generator`` post-trained with these options of :func:`scperturbrl.tl.rl_finetune`; with `equal_time` for as many CPU seconds as ``generator_rl`` took."""

    def make(prepared: Prepared, seed: int, seconds: Mapping[str, float]) -> None:
        def train(n_iterations: int) -> None:
            own = {**options, "n_iterations": n_iterations}
            spr.tl.rl_finetune(prepared.adata, key=BASE, key_added=name, seed=seed, **own)

        if equal_time:
            train(steps_for(seconds[RL], train, pilot=PILOT_ROUNDS))
        else:
            spr.tl.rl_finetune(prepared.adata, key=BASE, key_added=name, seed=seed, **options)

    return Arm(name, (BASE, RL) if equal_time else (BASE,), make)


PILOT_ROUNDS = (2, 6)
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
        finetuned("energy_only", equal_time=True, reward_steps=0),
        finetuned("rewards_only", equal_time=True, energy_steps=0),
        finetuned("unguarded", equal_time=True, **UNGUARDED),
        finetuned("unguarded_60", n_iterations=60, **UNGUARDED),
        Arm("best_of_8", (BASE,), draw=_best_of_8),
        Arm("whole_effects", (BASE,), _whole_effects),
        Arm("right_means", (BASE,), draw=lambda adata, n_cells, seed: right_means(adata, BASE, n_cells, seed)),
        Arm(
            "measured_singles",
            (BASE,),
            draw=lambda adata, n_cells, seed: measured_singles(adata, BASE, n_cells, seed),
        ),
        Arm("known_singles", draw=known_singles),
        Arm("nearest_embedding", draw=nearest_embedding),
        Arm("embedding_ridge", draw=embedding_ridge),
        *(Arm(name) for name in ADAPTERS),
    )
}
DEFAULT = [BASELINES, BASE, RL, LONGER, "energy_only", "unguarded"]


def fitted(arm: Arm, prepared: Prepared, seed: int, folder: Path, seconds: dict[str, float]) -> None:
    """Put the generator of `arm` into the data: a saved one, or a new one that is then saved.

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
    # pilot runs that determine the number of steps are not counted
    seconds[arm.name] = seconds[RL] if RL in arm.needs else watch.seconds
    folder.mkdir(parents=True, exist_ok=True)
    spr.tl.save_generator(adata, saved, key=arm.name, overwrite=True)
    clock.write_text(f"{watch.seconds:.3f}")
