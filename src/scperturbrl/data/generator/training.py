"""Training a stored generator on the cells of an AnnData, and the final steps after any training."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core import keys, log
from scperturbrl._core.provenance import array_hash, weights_hash
from scperturbrl.data.generator.identity import cells_identity
from scperturbrl.data.generator.linear import fit_recentring
from scperturbrl.data.generator.self_check import self_check, self_check_problems
from scperturbrl.data.generator.task import build_task
from scperturbrl.data.generator.trained_means import set_trained_means
from scperturbrl.data.generator.vocabulary import default_embeddings
from scperturbrl.data.latent.cells import Controls, latent_cells
from scperturbrl.data.reference.moments import denoising_shifts
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.flow.training.finite_steps import skipped_message
from scperturbrl.flow.training.fit import FitResult, FitSettings, fit_flow

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from scperturbrl._core.files.run_file import RunFile
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.flow.generator import Generator


def train_generator(
    stored: StoredGenerator, cells: Cells, settings: FitSettings, device: torch.device, *, file: RunFile | None = None
) -> FitResult:
    """Train encoder and velocity of `stored` on the training cells, monitored on validation conditions.

    Raises
    ------
    ValueError
        If there are no training cells, or `file` belongs to another run.
    """
    state = _read_state(file, stored, cells, settings) if file is not None else None
    generator = stored.generator
    space, factor = generator.space, generator.denoise
    controls = Controls.of(cells)
    train = latent_cells(cells, keys.TRAIN, space, factor, controls, shift=denoising_shifts(cells, space))
    validation = latent_cells(cells, keys.VALIDATION, space, factor, controls)
    conditions = stored.vocabulary.batch(cells.table).to(device)
    if train is None:
        msg = "There are no training cells. Check `obs['split']`, or call `scperturbrl.pp.split(adata)` again."
        raise ValueError(msg)
    generator.to(device)
    distance = _distance(stored, cells, settings.seed, device)
    names = [str(name) for name in cells.table.index]
    result = fit_flow(
        generator.train(), train, validation, conditions, settings, distance, names=names, file=file, state=state
    )
    generator.eval().cpu()
    if result.skipped:
        log.warn(skipped_message(result.skipped, result.first_skipped, "training steps"))
    return result


def finish_generator(
    stored: StoredGenerator, cells: Cells, *, seed: int, device: torch.device, means: bool = True
) -> None:
    """Correct means, choose the share of the linear part, and compare generated with training cells.

    Parameters
    ----------
    stored
        Trained generator, changed in place; ``fitted`` then holds only the shares and the self-check.
    cells
        Training cells.
    seed, device
        Seed, and device of the flow.
    means
        Whether to set the means of trained conditions again. Post-training keeps the means of its parent, because its
        guard monitored cells with these means.
    """
    # nothing of a generator from which it continued
    stored.fitted = {}
    if means:
        set_trained_means(stored, cells, seed=seed)
    if stored.params["prior"] == "linear":
        fit_recentring(stored, cells, seed=seed, device=device)
    stored.fitted["self_check"] = measured = self_check(stored, cells, seed=seed)
    for problem in self_check_problems(measured):
        log.tell(f"Generated cells of training conditions differ from the real ones: {problem}.")


def _read_state(file: RunFile, stored: StoredGenerator, cells: Cells, settings: FitSettings) -> dict[str, Any] | None:
    """State in `file`; its space and observation layer are copied to `stored`."""
    generator = stored.generator
    # settings that may change when a run is continued
    free = {"progress", "max_seconds", "compile"}
    sizes = {name: size for name, size in generator.architecture_dict().items() if isinstance(size, (int, str))}
    own_features = str(stored.params["embeddings"]) == "user"
    identity = {
        **{name: value for name, value in asdict(settings).items() if name not in free},
        **sizes,
        **cells_identity(cells),
        "embeddings": array_hash(stored.vocabulary.embeddings.to_numpy(np.float32)) if own_features else "",
        "init_from": "" if settings.keep_best else weights_hash(generator.to_arrays()),
    }
    state = file.read(identity)
    if state is None:
        # copies, because training changes these tensors
        file.constant = {"model": {name: value.clone() for name, value in generator.state_dict().items()}}
        return None
    file.constant = {"model": state["model"]}
    # recomputed on another machine, they might differ by rounding and not match the weights
    generator.load_state_dict(state["model"])
    if not own_features:
        embeddings = default_embeddings(generator, stored.genes)
        stored.vocabulary = replace(stored.vocabulary, embeddings=embeddings)
    log.note(f"continuing from step {state['progress']['done']} of {file.path}")
    return state


def _distance(
    stored: StoredGenerator, cells: Cells, seed: int, device: torch.device
) -> Callable[[Generator], float] | None:
    """Energy distance to the real cells of validation and of training conditions, both as a share of their effects'.

    With validation conditions alone, often a single one, an almost untrained generator can be the closest. Cells of new contexts and of
    unseen perturbations come from the flow here, because shifted control cells would not tell how far it has learnt.
    """
    sides = [(label, cells.conditions(label, min_cells=10)) for label in (keys.VALIDATION, keys.TRAIN)]
    if not all(conditions for _, conditions in sides):
        return None
    stored.generator.cpu()
    tasks = [build_task(stored, cells, names, label, seed=seed) for label, names in sides]
    yardsticks = [Yardstick(replace(task, conditions=task.conditions.of_flow()).to(device)) for task in tasks]
    stored.generator.to(device)
    return lambda model: sum(yardstick.measure(model, seed=seed) for yardstick in yardsticks) / 2
