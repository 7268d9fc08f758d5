"""Post-train the generator with verifiers as rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.default_key import check_key
from scperturbrl._core.distributed import join
from scperturbrl._core.docs import documented
from scperturbrl._core.files.run_file import RunFile
from scperturbrl._core.machine.device import resolve_device
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.machine.threads import one_thread
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import check_same_labels
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.validate import check_choice, check_number, check_positive
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.network import network_hash
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.likeness import warn_unlike
from scperturbrl.data.generator.stored import read_generator, write_generator
from scperturbrl.data.generator.training import finish_generator
from scperturbrl.data.post_training.reward import build_reward
from scperturbrl.data.post_training.run import chosen_settings, ended, post_train, warn_about
from scperturbrl.data.reference.networks import Networks
from scperturbrl.data.reference.stored import at_reference_depth
from scperturbrl.rl.finetuner import FinetuneSettings
from scperturbrl.rl.rules.checks import check_anchor, check_gradients, check_source
from scperturbrl.rl.rules.registry import UPDATE_RULES
from scperturbrl.verifiers.registry import DEFAULT, resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.verifiers.base import Verifier


@own_torch
@documented
def rl_finetune(
    adata: AnnData | MuData,
    *,
    key: str = keys.GENERATOR,
    key_added: str = keys.GENERATOR_RL,
    verifiers: Sequence[str | Verifier] = DEFAULT,
    weights: Mapping[str, float] | None = None,
    calibrate: bool = True,
    update_rule: str = FinetuneSettings.update_rule,
    n_iterations: int = FinetuneSettings.n_iterations,
    n_conditions: int = FinetuneSettings.n_conditions,
    group_size: int = FinetuneSettings.group_size,
    learning_rate: float = FinetuneSettings.learning_rate,
    anchor: float = FinetuneSettings.anchor,
    reward_steps: int = FinetuneSettings.reward_steps,
    energy_steps: int = FinetuneSettings.energy_steps,
    guard: bool = FinetuneSettings.guard,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    device: str | torch.device = "auto",
    seed: Seed = 0,
    progress: bool | None = None,
    modality: str | None = None,
) -> None:
    """Post-train a generator so that single generated cells agree with known perturbation biology.

    Each round generates cells of several training conditions and scores every cell with the verifiers. It pulls the
    velocity towards cells that score above the others of their condition and away from those below (DiffusionNFT). An anchor
    holds the velocity near that of the pretrained generator; the condition encoder is not changed. The round then descends
    the energy distance between generated and real training cells, which a reward of single cells cannot measure.

    A guard monitors this distance on training and validation conditions, the spread of the cells and the drift of the
    velocity. If one of them leaves its limits, the run returns to the last good state and continues with an anchor three
    times as strong. After three such returns in a row it stops.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.reference` and :func:`~scperturbrl.tl.fit_generator`.
    key
        The pretrained generator. Change it if you fitted several.
    key_added
        Where the post-trained one is written. Change it to keep the results of several runs.
    verifiers
        Names (:func:`scperturbrl.verifiers.show`) or verifiers. Change them to reward other biology.
    weights
        Importance of each verifier by name; 1 where not given. By default, the RMSE proximity has weight 8 if scores are
        calibrated: the other three reward a larger effect, and only the RMSE falls when it is too large. Change them if
        one score matters more to you.
    calibrate
        Put scores on a common scale (0 is a control cell, 1 a typical real perturbed cell), clipped at 1. ``False``
        rewards the raw scores, as first published. Raw rewards favour cells that collapse to the mean, so use them only for
        reproduction.
    update_rule
        ``"nft"``: DiffusionNFT, a contrast within conditions. ``"value_gradient"``: the gradient of the reward through the
        decoded cell; only verifiers with gradients are rewarded. ``"hybrid"``: the sum of both. ``"grpo"``: a policy
        gradient on noisy paths; slow, for comparison, and only for generators that start at noise. Change it if your
        verifiers have no gradients (``"nft"``).
    n_iterations
        Rounds. Use more if the gain still rises at the last check.
    n_conditions, group_size
        Conditions per round, and cells for each. Use smaller numbers if memory is short, and larger groups if rewards
        are noisy.
    learning_rate
        Of the reward updates, decaying linearly. Use a smaller one if the guard raises an alarm at the first check.
    anchor
        Initial weight of the squared distance to the pretrained velocity: 0.1 is strong post-training, 3 is cautious. It
        grows when the energy distance of validation conditions (of training conditions if there are none) rises by more
        than a tenth, and falls while the rise is below 3 %. At infinity the generator does not change; at 0 it is not
        anchored. Raise it if the run ends at iteration 0 with alarms.
    reward_steps
        Steps on the reward in each round; with 0 only the energy distance is trained. Use 0 only to measure the contribution
        of the rewards.
    energy_steps
        Steps down the energy distance in each round, all with the cells of the round; 0 for none. Use 2 if the distance rises.
    guard
        Whether the guard may stop the run, return to an earlier state, change the anchor, and choose the kept state. It
        chooses by conditions that are not rewarded: validation conditions, scored against their measured cells, and if
        there are fewer than three of them, also some training conditions, which are left out of the rewards. A later
        state is kept if their reward rises and their energy distance does not, both judged by the standard error. Each
        score counts only up to that of their real cells. Without the guard the last state is kept. Switch it off only
        to see what it prevents.
    checkpoint_dir
        Directory for the state of the run, written at intervals (``rl_finetune.safetensors``: weights, optimisers,
        averages, old policy, random numbers, guard, history). Use it if the run may be interrupted.
    resume
        Continue from the state in `checkpoint_dir`, if there is one. On the CPU, an interrupted and resumed run gives the
        same result, bit for bit, as an uninterrupted one. Set it to continue after an interruption.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ... Change it to choose among several GPUs, or to repeat a result bit for bit
        (``"cpu"``).
    seed
        Seed or NumPy generator. On the CPU the same seed gives the same weights, whatever the number of threads. Use several
        seeds to see how much results vary.
    progress
        Whether to show a progress bar; by default in a terminal or notebook. Set it if the log of a job should show
        progress, or a notebook should not.
    {modality}

    Returns
    -------
    Nothing. Writes ``uns[key_added]`` like :func:`~scperturbrl.tl.fit_generator`; ``fitted`` records the alarms, and
    ``history`` has one row for each check: the reward and its standard deviation, the raw score of each verifier, the
    distance to the pretrained velocity, the `anchor` from then on, and the values that the guard monitors. These are
    ``check_energy``, ``check_validation_energy``, ``check_spread``, ``check_drift`` and ``check_reward``;
    ``check_energy_error`` and ``check_validation_error`` are the standard errors of the changes of the first two.
    ``check_unrewarded`` is the reward of conditions that are not rewarded. ``check_gain`` and ``check_rise`` are the changes
    of this reward and of the energy distance of these conditions, with standard errors. ``fitted["outcome"]`` describes
    in a sentence what post-training did.

    Raises
    ------
    KeyError
        If `key` is no generator or a verifier is unknown.
    ValueError
        If there is no reference, the generator was fitted under another split, or no verifier discriminates real from
        control cells in any condition; if `key_added` is `key`; if `update_rule` does not support the source of the generator; or if the state in
        `checkpoint_dir` is damaged or of another run.
    FileExistsError
        If there is a state in `checkpoint_dir` and `resume` is false.
    OSError
        If `checkpoint_dir` cannot be written to, or its disk is full; the last state stays intact.
    MemoryError
        If the memory of the device is too small for a single condition.

    Notes
    -----
    Verifiers as rewards: :cite:t:`wu2026perturbcellrl`. Update: :cite:t:`zheng2025diffusionnft`.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.rl_finetune(adata, n_iterations=2, n_conditions=2)
    >>> adata.uns["generator_rl"]["params"]["parent"]
    'generator'
    """
    adata = pick(adata, modality)
    check_key(adata, key_added, keys.GENERATOR)
    if key_added == key:
        msg = (
            f"`key_added` is {key_added!r}, the generator that is post-trained. Choose another name: the pretrained one is needed to tell "
            "what post-training changed."
        )
        raise ValueError(msg)
    check_positive(n_iterations=n_iterations, n_conditions=n_conditions, learning_rate=learning_rate)
    _check_at_least(0, anchor=anchor, reward_steps=reward_steps, energy_steps=energy_steps)
    _check_at_least(2, group_size=group_size)
    check_choice("update_rule", update_rule, list(UPDATE_RULES))
    check_anchor(update_rule, anchor)
    join()
    file = RunFile.of(checkpoint_dir, "rl_finetune", resume=resume)
    started = log.start("post-training the generator")
    settings = FinetuneSettings(
        update_rule=update_rule,
        n_iterations=n_iterations,
        n_conditions=n_conditions,
        group_size=group_size,
        learning_rate=learning_rate,
        anchor=anchor,
        reward_steps=reward_steps,
        energy_steps=energy_steps,
        guard=guard,
        seed=resolve_seed(seed),
        progress=progress,
    )
    stored = read_generator(adata, key)
    check_source(update_rule, stored.generator.source)
    cells = Cells.of(adata, Setup.of(adata))
    check_same_labels(key, stored.conditions, cells.split_of(), "Post-training it")
    chosen = resolve(verifiers)
    torch_device = resolve_device(device)
    with one_thread(torch_device):
        shown = at_reference_depth(adata, cells)
        reward = build_reward(adata, shown, chosen, weights, calibrate=calibrate)
        warn_unlike({key: stored}, cells)
        check_gradients(update_rule, reward)
        result = post_train(adata, stored, (cells, shown), reward, settings, torch_device, file)
        finish_generator(stored, cells, seed=settings.seed, device=torch_device, means=False)
    stored.params |= {
        "parent": key,
        "method": "rl_finetune",
        "calibrate": calibrate,
        "network": network_hash(Networks.of(adata).pathways[0]),
        **chosen_settings(reward, settings),
    }
    stored.fitted |= ended(reward, result)
    stored.history = pd.DataFrame(result.history)
    write_generator(adata, key_added, stored)
    if file is not None:
        file.release()
    warn_about(result)
    log.finish(started, [f"uns[{key_added!r}]"])


def _check_at_least(lowest: int, **values: float) -> None:
    check_number(**values)
    for name, value in values.items():
        if not value >= lowest:
            msg = f"`{name}` is {value!r}; it must be at least {lowest}."
            raise ValueError(msg)
