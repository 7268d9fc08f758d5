"""Whether an update rule can be used with an anchor, a generator and a reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import log
from scperturbrl.rl.rules.registry import UPDATE_RULES

if TYPE_CHECKING:
    from scperturbrl.flow.path import Source
    from scperturbrl.rl.reward import Reward


def check_anchor(name: str, anchor: float) -> None:
    """Refuse an anchor of 0 for update rules that have no optimum without the pretrained generator."""
    if anchor == 0 and UPDATE_RULES[name].needs_anchor:
        msg = (
            f"`anchor` is 0, but `update_rule={name!r}` needs an anchor above 0. Use `update_rule='nft'` to "
            "train without one."
        )
        raise ValueError(msg)


def check_source(name: str, source: Source) -> None:
    """Refuse a rule that does not support the source of the flow.

    Raises
    ------
    ValueError
        If the rule needs a flow that starts at noise, and this one does not.
    """
    if UPDATE_RULES[name].needs_noise and not source.is_gaussian:
        msg = (
            f"`update_rule={name!r}` needs a generator that starts at noise, but this one starts at control cells. Use "
            "`update_rule='nft'`, or fit the generator with `source='gaussian'`."
        )
        raise ValueError(msg)


def check_gradients(name: str, reward: Reward) -> None:
    """Refuse a rule that needs gradients if no verifier has any, and report verifiers that are left out."""
    without = [v.name for v in reward.verifiers if not v.differentiable]
    if UPDATE_RULES[name].needs_gradients and without:
        if len(without) == len(reward.verifiers):
            msg = f"`update_rule={name!r}` needs verifiers with gradients; {without} have none. Use 'nft'."
            raise ValueError(msg)
        log.note(f"not rewarded, because they have no gradients: {without}")
