"""Candidates in order, with intervals and the predictions of simple rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from scperturbrl.pl._draw import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SUPPORT = {"supported": style.BLUE, "extrapolating": style.ORANGE, "unsupported": style.VERMILLION}
RULES = {
    "additive": ("Additive", style.GREEN),
    "ridge": ("Additive ridge", style.PURPLE),
    "context_line": ("Context line", style.SKY),
    "mean_response": ("Mean response", style.BLACK),
}


def draw_ranked(ax: Axes, frame: pd.DataFrame, top: int) -> None:
    """Draw one row for each candidate, the best at the top."""
    heights = np.arange(len(frame))
    several = frame["group"].nunique() > 1
    names = frame.index if several or "dose" in frame else frame["perturbation"]
    for y, (_, row) in zip(heights, frame.iterrows(), strict=True):
        color = SUPPORT[str(row["support"])]
        if np.isfinite(row["low"]):
            ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2, alpha=0.45, zorder=2, gid="interval")
        ax.plot(row["value"], y, zorder=4, gid="candidate", **_marker(row, color))
    for name, (_, color) in RULES.items():
        ax.scatter(frame[name], heights, marker="|", s=70, color=color, linewidths=1.4, zorder=3, gid=f"rule {name}")
    _write_odds(ax, frame, heights, top)
    ax.set_yticks(heights, [str(name) for name in names])
    ax.set_ylim(len(frame) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=style.LIGHT, linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)


def _write_odds(ax: Axes, frame: pd.DataFrame, heights: np.ndarray, top: int) -> None:
    beside: dict[str, Any] = {"transform": blended_transform_factory(ax.transAxes, ax.transData), "va": "center"}
    for y, chance in zip(heights, frame["top_probability"], strict=True):
        text = f"{100 * chance:.0f} %" if np.isfinite(chance) else "?"
        ax.text(1.09, y, text, ha="right", color=style.DARK, fontsize="small", gid="odds", **beside)
    ax.text(
        1.09,
        1.01,
        f"In the top {top}",
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        fontsize="small",
        color=style.DARK,
    )


def _marker(row: pd.Series, color: str) -> dict[str, Any]:
    if str(row["kind"]) == "measured":
        return {"marker": "s", "color": color, "markersize": 6, "linestyle": ""}
    face = color if bool(row["made_cells"]) else "white"
    return {"marker": "o", "markeredgecolor": color, "markerfacecolor": face, "markersize": 6, "linestyle": ""}


def legend_of(frame: pd.DataFrame) -> list[Line2D]:
    """Only what is drawn."""
    made, measured = frame["made_cells"].to_numpy(dtype=bool), (frame["kind"].astype(str) == "measured").to_numpy()
    marks: dict[str, tuple[bool, dict[str, Any]]] = {
        "Measured": (measured.any(), {"marker": "s", "color": style.MIDDLE}),
        "Predicted, by cells of the generator": (made.any(), {"marker": "o", "color": style.MIDDLE}),
        "Predicted, by the linear model": (
            (~made & ~measured).any(),
            {"marker": "o", "color": style.MIDDLE, "markerfacecolor": "white"},
        ),
    }
    handles = [Line2D([], [], linestyle="", label=label, **look) for label, (shown, look) in marks.items() if shown]
    words = frame["support"].astype(str)
    for word, color in SUPPORT.items():
        if (words == word).any():
            handles.append(Line2D([], [], color=color, linewidth=2, alpha=0.7, label=word.capitalize()))
    for name, (label, color) in RULES.items():
        if frame[name].notna().any():
            handles.append(Line2D([], [], linestyle="", marker="|", markersize=9, color=color, label=label))
    if frame["top_probability"].isna().any():
        handles.append(Line2D([], [], linestyle="", marker="$?$", color=style.DARK, label="Probability unknown"))
    return handles
