"""All steps from a screen to an evaluation, as run by ``python -m scperturbrl demo``."""

from __future__ import annotations

import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import scanpy as sc
from rich.console import Console

import scperturbrl as spr
from scperturbrl import _demo_report as report
from scperturbrl._core import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

LONGER = f"{keys.GENERATOR}_longer"
GENERATORS = (keys.GENERATOR, LONGER, keys.GENERATOR_RL)
ROWS_SHOWN = 12


@dataclass(frozen=True)
class Size:
    """Sizes of the demo; names and meanings are those of the arguments that they are passed to."""

    simulation: dict[str, Any]
    fit: dict[str, Any]
    finetune: dict[str, Any]
    n_cells: int


FULL = Size(
    simulation={"n_genes": 500, "n_singles": 12, "n_doubles": 36, "n_cells_per_condition": 80, "n_controls": 600},
    fit={"n_steps": 800},
    finetune={},
    n_cells=300,
)
FAST = Size(
    simulation={
        "n_genes": 80,
        "n_singles": 5,
        "n_doubles": 8,
        "n_cells_per_condition": 30,
        "n_controls": 90,
        "n_programs": 6,
        "n_pathways": 4,
        "effect_size": 1.5,
        "library_size": 1500,
    },
    fit={"n_steps": 100, "width": 64, "n_latent": 10},
    finetune={"n_iterations": 6, "n_conditions": 4},
    n_cells=60,
)


class Stages:
    """Prints the current step to a console, and afterwards how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, label: str, *, has_bar: bool = False) -> Iterator[None]:
        """Show `label` while the block runs, with a spinner unless the block has its own progress bar."""
        start = time.perf_counter()
        if self.console.is_terminal and not has_bar:
            with self.console.status(label):
                yield
        else:
            yield
        self.console.print(f"{label:<58}{time.perf_counter() - start:7.1f} s", highlight=False)


def run(out: Path, size: Size, *, seed: int) -> AnnData:
    """Run all steps, write the results to the folder `out` and print them.

    Parameters
    ----------
    out
        Folder; created if it does not exist.
    size
        Sizes of the demo.
    seed
        Seed of all random numbers.

    Returns
    -------
    The AnnData that was written to ``demo.h5ad``.
    """
    console = Console(force_jupyter=False)
    stages, start = Stages(console), time.perf_counter()
    with warnings.catch_warnings(), mpl.rc_context():
        # the report covers the warnings of this package; other warnings concern the dependencies
        warnings.simplefilter("ignore")
        adata = _prepare(stages, size, seed)
        _train(adata, stages, size, seed)
        _judge(adata, stages, size, seed)
        with stages.stage("Write AnnData and pictures"):
            files = _write(adata, out)
    report.tell(adata, console, GENERATORS)
    console.print(f"\nWrote to {out}: {', '.join(files)}", soft_wrap=True, highlight=False)
    console.print(f"Done in {time.perf_counter() - start:.0f} s.", highlight=False)
    return adata


def _prepare(stages: Stages, size: Size, seed: int) -> AnnData:
    with stages.stage("Load the dependencies and simulate a screen"):
        adata = spr.datasets.simulated_perturbseq(**size.simulation, seed=seed)
    with stages.stage("Set up, hold combinations out, summarise training cells"):
        spr.pp.setup_anndata(adata)
        spr.pp.split(adata, holdout="combinations", fraction=0.3, validation_fraction=0.2, seed=seed)
        spr.pp.reference(adata, seed=seed)
    return adata


def _train(adata: AnnData, stages: Stages, size: Size, seed: int) -> None:
    """Fit, post-train, and give the pretrained generator extra training for as long as post-training took."""
    with stages.stage("Fit the generator", has_bar=True):
        spr.tl.fit_generator(adata, **size.fit, seed=seed)
    _stop_if_interrupted(adata, keys.GENERATOR)
    with stages.stage("Post-train it with the verifiers", has_bar=True):
        spr.tl.rl_finetune(adata, **size.finetune, seed=seed)
    _stop_if_interrupted(adata, keys.GENERATOR_RL)
    with stages.stage("Extra training of the pretrained one, same time", has_bar=True):
        spr.tl.fit_generator(
            adata,
            init_from=keys.GENERATOR,
            key_added=LONGER,
            learning_rate=3e-4,
            # limited by time, not by steps
            n_steps=1_000_000,
            max_minutes=float(adata.uns[keys.GENERATOR_RL]["fitted"]["seconds"]) / 60,
            seed=seed,
            progress=False,
        )
    _stop_if_interrupted(adata, LONGER)


def _stop_if_interrupted(adata: AnnData, key: str) -> None:
    """Training handles an interrupt and returns normally; here the interrupt should end the whole demo."""
    if adata.uns[key]["fitted"]["stopped"] == "interrupted":
        raise KeyboardInterrupt


def _judge(adata: AnnData, stages: Stages, size: Size, seed: int) -> None:
    with stages.stage("Generate a cell for every perturbed cell"):
        for key in (keys.GENERATOR, keys.GENERATOR_RL):
            spr.tl.generate(adata, key=key, seed=seed)
    with stages.stage("Score real and generated cells"):
        spr.tl.score(adata)
        # conditions without scores were reported by the first call, and are the same for every layer
        with sc.settings.verbosity.override("error"):
            for key in (keys.GENERATOR, keys.GENERATOR_RL):
                spr.tl.score(adata, layer=key)
    with stages.stage("Evaluate held-out combinations, baselines and ceiling"):
        spr.tl.evaluate(adata, keys=GENERATORS, n_cells=size.n_cells, seed=seed)


def _write(adata: AnnData, out: Path) -> list[str]:
    """Write everything into `out`; returns the names of the files."""
    mpl.use("Agg")
    out.mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(out / "demo.h5ad")
    # held-out combinations have no reference, and therefore no scores to plot
    scored = spr.get.verifier_scores(adata, key=keys.GENERATOR_RL).dropna(subset="score")["group"].astype(str)
    options: dict[str, Any] = {"return_fig": True}
    figures: dict[str, Any] = {
        "verifier_scores": spr.pl.verifier_scores(adata, perturbations=_spread(scored.unique().tolist()), **options),
        "embedding": spr.pl.embedding(adata, **options),
        "history_generator": spr.pl.training_history(adata, key=keys.GENERATOR, **options),
        "history_generator_rl": spr.pl.training_history(adata, key=keys.GENERATOR_RL, **options),
        "evaluation": spr.pl.evaluation(adata, metrics=list(report.COLUMNS), **options),
    }
    import matplotlib.pyplot as plt

    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=150)
        plt.close(figure)
    return ["demo.h5ad", *(f"{name}.png" for name in figures)]


def _spread(labels: list[str]) -> list[str]:
    """Up to twelve of `labels`, evenly spaced, so that the plot stays legible."""
    step = max(1, -(-len(labels) // ROWS_SHOWN))
    return labels[::step]
