"""The lanes of one metric in the plot of an evaluation: one for each model, or one for all baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.pl._draw.looks import Look, fill
from scperturbrl.pl._draw.style import DARK

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes

BASELINES = "baselines"


def draw_lanes(ax: Axes, row: int, frame: pd.DataFrame, looks: Mapping[str, Look], limits: tuple[float, float]) -> None:
    """Draw interquartile range and median of every model, from top to bottom as in `looks`.

    The lane :data:`BASELINES` extends from the lowest to the highest median of the baselines, with a mark at the
    highest. Medians outside of `limits` are drawn as arrows at the edge, with their values next to them.
    """
    heights = np.linspace(-0.3, 0.3, len(looks)) if len(looks) > 1 else [0.0]
    outside: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    by_model = frame.set_index("model")[["scaled_q25", "scaled_q75", "scaled_median"]]
    for (model, look), offset in zip(looks.items(), heights, strict=True):
        if model == BASELINES:
            medians = frame.loc[frame["kind"] == "baseline", "scaled_median"]
            span = (medians.min(), medians.max(), medians.max())
        elif model in by_model.index:
            span = tuple(by_model.loc[model])
        else:
            continue
        if not np.isfinite(span[2]):
            continue
        far = _draw_lane(ax, row + offset, span, look, limits)
        if far is not None:
            outside[far].append((row + offset, span[2]))
    for above, found in outside.items():
        if found:
            _write_values(ax, found, limits, above=above)


def _draw_lane(ax: Axes, y: float, span: tuple[float, ...], look: Look, limits: tuple[float, float]) -> bool | None:
    """Draw a bar and its mark. Return whether the mark is above the upper limit, or None if it is inside the limits."""
    low, high, median = span
    ax.plot(np.clip([low, high], *limits), [y, y], color=look.color, linewidth=1.2, alpha=0.6, zorder=2, gid="range")
    if limits[0] <= median <= limits[1]:
        ax.plot(median, y, look.marker, zorder=4, gid="median", **fill(look))
        return None
    above = bool(median > limits[1])
    edge, marker = (limits[1], ">") if above else (limits[0], "<")
    ax.plot(edge, y, marker, clip_on=False, zorder=5, gid="clipped", **fill(look))
    return above


def _write_values(ax: Axes, found: list[tuple[float, float]], limits: tuple[float, float], *, above: bool) -> None:
    """Write the values of the arrows at one edge next to them: one value, or the range."""
    values = sorted(value for _, value in found)
    shown = list(dict.fromkeys(_short(value) for value in (values[0], values[-1])))
    ax.annotate(
        " to ".join(shown),
        (limits[1] if above else limits[0], float(np.mean([y for y, _ in found]))),
        xytext=(-6 if above else 6, 0),
        textcoords="offset points",
        ha="right" if above else "left",
        va="center",
        fontsize="x-small",
        color=DARK,
        zorder=6,
        # so that the bars of the lanes do not cross it
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        gid="value",
    )


def _short(value: float) -> str:
    text = f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return text.replace("-", "\N{MINUS SIGN}")
