"""Names beside points that do not lie on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl.pl._style import DARK, figure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.axes import Axes


def spread_labels(ax: Axes, points: np.ndarray, labels: Sequence[str], *, size: str = "x-small") -> None:
    """Write `labels` to the left and right margins of `ax`, each at the height of its point where there is room.

    Points ``(n, 2)`` in the left half are named at the left. A thin line leads from the name to the point.
    """
    if not len(labels):
        return
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    font = {"fontsize": size, "color": DARK, "va": "center", "zorder": 6}
    # height of a line of text as a share of that of the axes, before the layout is known
    inches = ax.get_position().height * figure_of(ax).get_size_inches()[1]
    step = 0.14 / max(inches, 0.5) * (high - low)
    for side in (-1, 1):
        own = [i for i in range(len(labels)) if (points[i, 0] < (left + right) / 2) == (side < 0)]
        own.sort(key=lambda i: points[i, 1])
        x = left + 0.02 * (right - left) if side < 0 else right - 0.02 * (right - left)
        for i, y in zip(own, _apart([points[i, 1] for i in own], step, low, high), strict=True):
            ax.annotate(
                labels[i],
                tuple(points[i]),
                xytext=(x, y),
                ha="left" if side < 0 else "right",
                arrowprops={"arrowstyle": "-", "color": DARK, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2},
                **font,
            )


def _apart(heights: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Heights moved as little as needed to be `step` apart and inside the axes; `heights` must rise."""
    placed = list(heights)
    floor = low + step
    for i, height in enumerate(placed):
        placed[i] = max(height, floor)
        floor = placed[i] + step
    ceiling = high - step
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - step
    return placed
