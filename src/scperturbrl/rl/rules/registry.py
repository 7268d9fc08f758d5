"""The update rules by name, to which others can be added, and what each of them cannot be used with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from scperturbrl._core import log
from scperturbrl._core.lazy import declared
from scperturbrl._core.register import add

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scperturbrl.flow.path import Source
    from scperturbrl.rl.reward import Reward
    from scperturbrl.rl.rules.base import Rule, UpdateRule

_RULES: dict[str, Rule] = {}

UPDATE_RULES: Mapping[str, Rule] = MappingProxyType(_RULES)
"""Every update rule by name."""


def register(rule: Rule, *, overwrite: bool = False) -> Rule:
    """Make an update rule known to :func:`scperturbrl.tl.rl_finetune`.

    Parameters
    ----------
    rule
        The rule and what it needs.
    overwrite
        Replace a rule of the same name instead of refusing.

    Returns
    -------
    `rule`, unchanged.

    Raises
    ------
    ValueError
        If the name is taken.

    Examples
    --------
    >>> from scperturbrl.rl.rules.base import Rule
    >>> from scperturbrl.rl.rules.nft import Nft
    >>> _ = register(Rule("mild_nft", lambda anchor, beta: Nft(10 * anchor, beta)), overwrite=True)
    >>> make_rule("mild_nft", anchor=0.5).anchor
    5.0
    """
    add(_RULES, rule.name, rule, what="an update rule", overwrite=overwrite)
    return rule


def make_rule(name: str, *, anchor: float, beta: float = 1.0) -> UpdateRule:
    """Build an update rule.

    Parameters
    ----------
    name
        One of :data:`UPDATE_RULES`.
    anchor
        Weight of the pretrained generator.
    beta
        Contrast of ``"nft"``; not used by all.
    """
    if name not in UPDATE_RULES:
        msg = f"`update_rule` is {name!r}; it must be one of {', '.join(map(repr, UPDATE_RULES))}."
        raise ValueError(msg)
    return UPDATE_RULES[name].make(anchor=anchor, beta=beta)


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


for _rule in declared("scperturbrl.rl.rules", "RULE"):
    register(_rule)
