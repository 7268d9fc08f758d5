"""Place the names of points without overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.pl._draw.style import DARK, figure_of, inch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes


# width of a capital letter in the default size, in inches
_CHARACTER = 0.066


def spread_labels(
    ax: Axes, points: np.ndarray, labels: Sequence[str], *, others: np.ndarray, size: str = "x-small"
) -> None:
    """Label points of a plot in which most points lie along the rising diagonal.

    The label of a point ``(n, 2)`` is on the opposite side of the vertical axis, in a nearly empty quadrant, at the
    height of the point if there is room. A thin line connects label and point. Labels avoid most of the `others` ``(m,
    2)`` at their heights, except a few outermost points.
    """
    (left, right), limits = ax.get_xlim(), ax.get_ylim()
    # height of a line of text as a share of the height of the axes, before the layout is known
    inches = ax.get_position().height * figure_of(ax).get_size_inches()[1]
    step = inch(0.13) / max(inches, 0.5) * (limits[1] - limits[0])
    across = ax.get_position().width * figure_of(ax).get_size_inches()[0]
    if ax.get_aspect() != "auto":
        across = min(across, inches)
    for side in (-1, 1):
        own = sorted((i for i in range(len(labels)) if (points[i, 0] > 0) == (side < 0)), key=lambda i: points[i, 1])
        heights = _apart([points[i, 1] for i in own], step, *limits)
        edge = _edge(others, heights, step, side)
        # the longest name ends inside the axes, even if it then covers some points
        longest = max((len(labels[i]) for i in own), default=0)
        room = max(side * left, side * right) - inch(_CHARACTER) * longest / max(across, 0.5) * (right - left)
        x = side * max(min(edge + 0.03 * (right - left), room), 0.0)
        for i, y in zip(own, heights, strict=True):
            ax.annotate(
                labels[i],
                tuple(points[i]),
                xytext=(x, y),
                ha="right" if side < 0 else "left",
                va="center",
                fontsize=size,
                color=DARK,
                zorder=6,
                arrowprops={"arrowstyle": "-", "color": DARK, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2},
            )


def _edge(others: np.ndarray, heights: Sequence[float], step: float, side: int) -> float:
    """Distance from the vertical axis to the outermost points of `side` at the heights of the labels."""
    if not heights:
        return 0.0
    level = (others[:, 1] > heights[0] - step) & (others[:, 1] < heights[-1] + step)
    return float(np.quantile(np.clip(side * others[level, 0], 0, None), 0.995)) if level.any() else 0.0


def _apart(heights: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Move ascending `heights` to be `step` apart and inside the axes.

    Pushing up from the lowest and pushing down from the highest both keep the distance. So does the mean of the two,
    which keeps clusters of labels centred.
    """
    centred = [(up + down) / 2 for up, down in zip(_pushed(heights, step), _pushed_down(heights, step), strict=True)]
    inside = _pushed([max(height, low + step) for height in centred], step)
    return _pushed_down([min(height, high - step) for height in inside], step)


def _pushed(heights: Sequence[float], step: float) -> list[float]:
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + step) if placed else height)
    return placed


def _pushed_down(heights: Sequence[float], step: float) -> list[float]:
    return [-height for height in _pushed([-height for height in reversed(heights)], step)][::-1]
