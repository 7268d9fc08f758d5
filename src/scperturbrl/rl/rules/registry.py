"""The update rules by name, to which others can be added."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from scperturbrl._core.lazy import declared
from scperturbrl._core.register import add

if TYPE_CHECKING:
    from collections.abc import Mapping

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


for _rule in declared("scperturbrl.rl.rules", "RULE"):
    register(_rule)
