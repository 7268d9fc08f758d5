"""One run of post-training: start or resume it, and record its settings and outcome."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from scperturbrl._core import keys, log
from scperturbrl._core.provenance import array_hash, weights_hash
from scperturbrl.data.generator.identity import cells_identity
from scperturbrl.data.generator.task import reference_task
from scperturbrl.data.post_training.reward import validation_reward
from scperturbrl.flow.training.finite_steps import skipped_message
from scperturbrl.rl.evidence import Judge
from scperturbrl.rl.finetune import finetune

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scperturbrl._core.files.run_file import RunFile
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.flow.rollout.task import Task
    from scperturbrl.rl.finetuner import FinetuneSettings
    from scperturbrl.rl.result import FinetuneResult
    from scperturbrl.rl.reward import Reward


def post_train(
    adata: AnnData,
    stored: StoredGenerator,
    both: tuple[Cells, Cells],
    reward: Reward,
    settings: FinetuneSettings,
    device: torch.device,
    file: RunFile | None,
) -> FinetuneResult:
    """Post-train `stored` with `reward`. `both` holds the cells of `adata` as measured and at the depth of the reference."""
    cells = both[0]
    state = _read_state(file, stored, cells, reward, settings) if file is not None else None
    conditions = list(reward.reference.conditions)
    seed = settings.seed
    task = reference_task(stored, *both, conditions, keys.TRAIN, seed=seed)
    watched = cells.conditions(keys.VALIDATION, min_cells=10)
    validation = reference_task(stored, *both, watched, keys.VALIDATION, seed=seed).to(device) if watched else None
    choose = settings.guard and settings.reward_steps > 0
    judge = _judge(adata, both[1], reward, validation, watched, device) if choose else None
    _say_what_cannot_change(validation)
    placed = reward.to(device)
    generator = stored.generator.to(device)
    result = finetune(generator, task.to(device), placed, settings, validation, judge=judge, file=file, state=state)
    stored.generator.cpu().eval()
    return result


def _judge(
    adata: AnnData, shown: Cells, rewarded: Reward, validation: Task | None, names: Sequence[str], device: torch.device
) -> Judge | None:
    """Reward of the validation conditions whose cells come from the flow, by their measured cells.

    References from predicted effects would not do: generated cells follow the prediction more closely than real cells do.
    `shown` are the cells at the depth of the reference.
    """
    if validation is None:
        return None
    translated = validation.conditions.translated
    own = [i for i in range(len(names)) if translated is None or not bool(translated[i])]
    if not own:
        return None
    reward, real = validation_reward(adata, shown, rewarded, [names[i] for i in own])
    return Judge(reward.to(device), torch.tensor(own, device=device), real.to(device))


def _say_what_cannot_change(validation: Task | None) -> None:
    """Report if no validation condition uses cells of the flow, because post-training then does not affect them."""
    translated = None if validation is None else validation.conditions.translated
    if translated is not None and bool(translated.all()):
        log.note(
            "cells of new contexts and of unseen perturbations are control cells shifted by a mean effect, which "
            "post-training hardly changes; all validation conditions are of this kind, so training conditions that are left "
            "out of the rewards show whether post-training helps"
        )


def chosen_settings(reward: Reward, settings: FinetuneSettings) -> dict[str, Any]:
    """Return verifiers and settings of the run as plain values."""
    names = [verifier.name for verifier in reward.verifiers]
    return {
        "verifiers": {verifier.name: dict(verifier.params) for verifier in reward.verifiers},
        "verifier_weights": dict(zip(names, reward.weights.tolist(), strict=True)),
        **{name: value for name, value in asdict(settings).items() if name != "progress"},
    }


def ended(reward: Reward, result: FinetuneResult) -> dict[str, Any]:
    """Return how the run ended as plain values."""
    return {
        "alarms": result.alarms,
        "kept_iteration": result.kept_iteration,
        "outcome": result.outcome,
        "left_out": [reward.reference.conditions[place] for place in result.left_out],
        "stopped": result.stopped,
        "seconds": result.seconds,
        "skipped_steps": result.skipped,
    }


def warn_about(result: FinetuneResult) -> None:
    """Report the outcome; warn if the guard stopped the run, or steps were skipped."""
    (log.note if result.kept_iteration else log.tell)(result.outcome)
    if result.stopped.startswith("guard"):
        log.warn(
            f"Post-training was stopped by its {result.stopped}. The state of iteration {result.kept_iteration} was kept."
        )
    if result.skipped:
        log.warn(skipped_message(result.skipped, result.first_skipped, "updates"))


def _read_state(
    file: RunFile, stored: StoredGenerator, cells: Cells, reward: Reward, settings: FinetuneSettings
) -> dict[str, Any] | None:
    identity = {
        **{name: value for name, value in asdict(settings).items() if name != "progress"},
        **cells_identity(cells),
        **_reward_identity(reward),
        "pretrained generator": weights_hash(stored.generator.to_arrays()),
    }
    state = file.read(identity)
    if state is not None:
        log.note(f"continuing from iteration {state['progress']['done']} of {file.path}")
    return state


def _reward_identity(reward: Reward) -> dict[str, Any]:
    """Identity of a reward: verifiers with their settings and weights, and hashes of their references."""
    reference, calibration = reward.reference, reward.calibration
    judged = [reference.effect, reference.control_mean, reference.bank, reference.pathway_response]
    return {
        "verifiers": [[verifier.name, dict(verifier.params)] for verifier in reward.verifiers],
        "weights": reward.weights.tolist(),
        "calibrate": reward.calibrated,
        "reference": array_hash(*(value.cpu().numpy() for value in judged)),
        "calibration": array_hash(*(getattr(calibration, name).cpu().numpy() for name in vars(calibration))),
    }
