"""The update rules by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl.rl.rules.grpo import Grpo
from scperturbrl.rl.rules.hybrid import Hybrid
from scperturbrl.rl.rules.nft import Nft
from scperturbrl.rl.rules.value_gradient import ValueGradient

if TYPE_CHECKING:
    from scperturbrl.flow.source import Source
    from scperturbrl.rl.rules.base import UpdateRule

UPDATE_RULES = ("nft", "grpo", "value_gradient", "hybrid")


def check_source(name: str, source: Source) -> None:
    """Refuse a rule that cannot start where the flow does.

    Raises
    ------
    ValueError
        If it needs noise alone as source, and the source is another.
    """
    if name == "grpo" and not source.is_gaussian:
        msg = (
            "`update_rule='grpo'` needs a generator that starts at noise, this one starts at control cells. Use "
            "`update_rule='nft'`, or fit it with `source='gaussian'`."
        )
        raise ValueError(msg)


def make_rule(name: str, *, anchor: float, beta: float = 1.0) -> UpdateRule:
    """Build an update rule.

    Parameters
    ----------
    name
        One of :data:`UPDATE_RULES`.
    anchor
        Weight of the pretrained generator.
    beta
        Contrast of ``"nft"``; not used by the others.
    """
    if name == "nft":
        return Nft(anchor=anchor, beta=beta)
    if name == "grpo":
        return Grpo(anchor=anchor)
    if name == "hybrid":
        return Hybrid(anchor=anchor, beta=beta)
    if name == "value_gradient":
        return ValueGradient(anchor=anchor)
    msg = f"`update_rule` is {name!r}; it must be one of {UPDATE_RULES}."
    raise ValueError(msg)
