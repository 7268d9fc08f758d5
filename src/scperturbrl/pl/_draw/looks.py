"""Colour and marker of each model in plots that compare several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from scperturbrl.pl._draw import style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


class Look(NamedTuple):
    """Colour and marker of a model; a hollow one is a baseline."""

    color: str
    marker: str
    hollow: bool = False


_LOOKS = {
    "generator": [Look(color, "o") for color in (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE)],
    "prediction": [Look(color, "D") for color in (style.SKY, style.ORANGE, style.PURPLE, style.GREEN)],
    "baseline": [Look(style.DARK, marker, hollow=True) for marker in ("s", "^", "v", "D", "P", "X", "p", "h")],
    "ceiling": [Look(style.BLACK, "*"), Look(style.MIDDLE, "*")],
}


def model_looks(frame: pd.DataFrame, palette: Mapping[str, str]) -> dict[str, Look]:
    """Look of each model, in the order of the lanes."""
    looks: dict[str, Look] = {}
    used: dict[str, int] = {}
    order = list(dict.fromkeys(frame["model"]))
    kinds = dict(zip(frame["model"], frame["kind"], strict=True))
    for model in order:
        options = _LOOKS.get(kinds[model], _LOOKS["prediction"])
        number = used.setdefault(kinds[model], 0)
        used[kinds[model]] += 1
        look = options[number % len(options)]
        looks[model] = look._replace(color=palette.get(model, look.color))
    return looks


def fill(look: Look, *, size: float = 4.5) -> dict[str, Any]:
    """Colour and marker of a look, as keyword arguments of matplotlib. A star is drawn larger to look equally large."""
    return {
        "color": look.color,
        "markerfacecolor": "white" if look.hollow else look.color,
        "markersize": size + 3 if look.marker == "*" else size,
    }
