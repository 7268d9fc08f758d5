"""Names beside points that do not lie on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl.pl._style import DARK, figure_of, inch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.axes import Axes


def spread_labels(ax: Axes, points: np.ndarray, labels: Sequence[str], *, size: str = "x-small") -> None:
    """Name the points of a plot of agreement, where most points lie along the rising diagonal.

    A name stands across the vertical axis from its point ``(n, 2)``, at its height where there is room: those
    quadrants are nearly empty. A thin line leads from the name to the point.
    """
    (left, right), limits = ax.get_xlim(), ax.get_ylim()
    # height of a line of text as a share of that of the axes, before the layout is known
    inches = ax.get_position().height * figure_of(ax).get_size_inches()[1]
    step = inch(0.13) / max(inches, 0.5) * (limits[1] - limits[0])
    for side in (-1, 1):
        own = sorted((i for i in range(len(labels)) if (points[i, 0] > 0) == (side < 0)), key=lambda i: points[i, 1])
        for i, y in zip(own, _apart([points[i, 1] for i in own], step, *limits), strict=True):
            ax.annotate(
                labels[i],
                tuple(points[i]),
                xytext=(side * 0.04 * (right - left), y),
                ha="right" if side < 0 else "left",
                va="center",
                fontsize=size,
                color=DARK,
                zorder=6,
                arrowprops={"arrowstyle": "-", "color": DARK, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2},
            )


def _apart(heights: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Heights moved to be `step` apart and inside the axes; `heights` must rise.

    Pushing up from the lowest and down from the highest each keeps the distance, and so does the mean of both, which
    leaves a crowd centred where it was.
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
