"""Build the reward from verifiers and the reference in an AnnData."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from scperturbrl._core import log
from scperturbrl.data.generator.task import build_task
from scperturbrl.data.reference.pseudo_references import extend_reference
from scperturbrl.data.reference.stored import read_calibration, read_reference
from scperturbrl.rl.reward import Reward
from scperturbrl.rl.rules.registry import UPDATE_RULES
from scperturbrl.tl._score import importance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.flow.rollout.task import Task
    from scperturbrl.verifiers.base import Verifier

# chosen from 1, 3, 8 and 30 on two simulated data sets, by the RMSE at equal energy distance
WEIGHTS = {"rmse_topk": 8.0}


def check_anchor(update_rule: str, anchor: float) -> None:
    """Refuse an anchor of 0 for update rules that have no optimum without the pretrained generator."""
    if anchor == 0 and UPDATE_RULES[update_rule].needs_anchor:
        msg = (
            f"`anchor` is 0, but `update_rule={update_rule!r}` needs an anchor above 0. Use `update_rule='nft'` to "
            "train without one."
        )
        raise ValueError(msg)


def check_gradients(update_rule: str, reward: Reward) -> None:
    """Refuse a rule that needs gradients if no verifier has any, and report verifiers that are left out."""
    without = [v.name for v in reward.verifiers if not v.differentiable]
    if UPDATE_RULES[update_rule].needs_gradients and without:
        if len(without) == len(reward.verifiers):
            msg = f"`update_rule={update_rule!r}` needs verifiers with gradients; {without} have none. Use 'nft'."
            raise ValueError(msg)
        log.note(f"not rewarded, because they have no gradients: {without}")


def reference_task(
    stored: StoredGenerator, cells: Cells, shown: Cells, conditions: Sequence[str], label: str, *, seed: int
) -> Task:
    """Build the task of `conditions` at the depth of the reference.

    As in training, cells are generated from control cells as measured (`cells`). They get the depth of the control
    cells in `shown`, the cells at the depth of the reference, and are compared with real cells of that depth. In `shown`
    conditions have the depth of their control cells, except those that are shallower still.
    """
    task = build_task(stored, cells, conditions, label, seed=seed)
    if shown is cells:
        return task
    thinned = build_task(stored, shown, conditions, label, seed=seed)
    own, shown_unit = task.pool, thinned.pool.unit
    kept = own.unit / shown_unit
    factor = torch.stack([kept[first : first + n].mean() for first, n in zip(own.start, own.count, strict=True)])
    pool = replace(own, shown_unit=shown_unit, depth=(own.depth / factor).clamp(max=1))
    return replace(task, pool=pool, real=thinned.real)


def build_reward(
    adata: AnnData,
    cells: Cells,
    verifiers: Sequence[Verifier],
    weights: Mapping[str, float] | None,
    *,
    calibrate: bool,
) -> Reward:
    """Return the reward of the conditions that have a reference. `cells` are at the depth of the reference."""
    if weights is None and calibrate:
        weights = {name: value for name, value in WEIGHTS.items() if name in {verifier.name for verifier in verifiers}}
    table, reference = read_reference(adata, cells, verifiers)
    calibration = read_calibration(adata, cells, table.conditions, verifiers)
    return _checked(Reward(verifiers, reference, calibration, importance(verifiers, weights), calibrated=calibrate))


def pseudo_reward(
    adata: AnnData, cells: Cells, reward: Reward, names: Sequence[str]
) -> tuple[Reward, list[int]] | None:
    """`reward` for those of `names` whose effect can be estimated from training cells, and their places; None for none.

    The conditions have no training cells, and their own cells are not used.
    """
    extended = extend_reference(adata, cells, reward.verifiers, method="ridge", wanted=names)
    pseudo = {str(name): number for number, name in enumerate(extended.conditions) if name in extended.trust.index}
    places = [place for place, name in enumerate(names) if name in pseudo]
    if not places:
        return None
    rows = torch.tensor([pseudo[names[place]] for place in places])
    return Reward(
        reward.verifiers, extended.reference.select(rows), extended.calibration.select(rows), reward.weights
    ), places


def _checked(reward: Reward) -> Reward:
    """Refuse a reward if no verifier can discriminate, and report in which conditions verifiers are skipped."""
    if not reward.informative().any():
        msg = (
            "No verifier can discriminate real from control cells in any training condition (AUROC below .55 "
            "everywhere), so there "
            "is nothing to reward. Check the perturbation labels, or use conditions with stronger effects."
        )
        raise ValueError(msg)
    names = reward.reference.conditions
    silent = [name for name, ok in zip(names, reward.informative().tolist(), strict=True) if not ok]
    if silent:
        log.note(f"no verifier can score {len(silent)} conditions, which are left out: {silent[:10]}")
    count = (reward.calibration.weight == 0).sum(0).tolist()
    for verifier, n in zip(reward.verifiers, count, strict=True):
        if n:
            log.note(
                f"{verifier.name} cannot discriminate real from control cells in {n} of {len(names)} conditions and is skipped there"
            )
    return reward
