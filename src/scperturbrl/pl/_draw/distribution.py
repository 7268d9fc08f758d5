"""Distributions of scores in horizontal rows: violin, strip and box, and the band of the real cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle

from scperturbrl.pl._draw.style import DARK, LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

HALF = 0.42


def draw_band(ax: Axes, row: float, values: np.ndarray) -> None:
    """Interquartile range of `values` as a band behind row `row`, with the median as a line; nothing without values."""
    if not len(values):
        return
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    ax.add_patch(Rectangle((low, row - HALF), high - low, 2 * HALF, color=LIGHT, linewidth=0, zorder=1, gid="band"))
    ax.plot([middle, middle], [row - HALF, row + HALF], color=DARK, linewidth=1.5, zorder=4, gid="band-median")


def draw_violin(ax: Axes, row: float, values: np.ndarray, color: str) -> None:
    """Kernel density of `values` from their 1st to their 99th percentile, and their median as a dot."""
    from scipy.stats import gaussian_kde

    spread = float(np.ptp(values))
    if len(values) < 3 or spread < 1e-9:
        draw_strip(ax, row, values, color)
        return
    # outliers would compress the rest of the plot
    lowest, highest = np.quantile(values, [0.01, 0.99]).tolist()
    grid = np.linspace(lowest, highest, 120)
    density = gaussian_kde(values)(grid)
    half = HALF * density / density.max()
    ax.fill_between(grid, row - half, row + half, color=color, alpha=0.6, linewidth=0, zorder=2, gid="violin")
    _draw_median(ax, row, values)


def draw_strip(ax: Axes, row: float, values: np.ndarray, color: str) -> None:
    """Every value as a point, jittered, and the median as a dot."""
    jitter = np.random.default_rng(0).uniform(-0.7 * HALF, 0.7 * HALF, len(values))
    size = float(np.clip(3000 / (20 + len(values)), 2, 14))
    ax.scatter(
        values, row + jitter, s=size, color=color, alpha=0.65, linewidths=0, rasterized=True, zorder=2, gid="strip"
    )
    _draw_median(ax, row, values)


def draw_box(ax: Axes, row: float, values: np.ndarray, color: str) -> None:
    """Quartiles as a box, whiskers from the 5th to the 95th percentile, and the median as a dot."""
    lowest, low, high, highest = np.quantile(values, [0.05, 0.25, 0.75, 0.95])
    half = 0.5 * HALF
    ax.plot([lowest, highest], [row, row], color=color, linewidth=1.2, zorder=2, gid="whisker")
    ax.add_patch(
        Rectangle((low, row - half), high - low, 2 * half, facecolor=color, alpha=0.6, linewidth=0, zorder=3, gid="box")
    )
    _draw_median(ax, row, values)


def _draw_median(ax: Axes, row: float, values: np.ndarray) -> None:
    ax.plot(np.median(values), row, "o", color="white", markeredgecolor=DARK, markersize=5, zorder=5, gid="median")


DRAW: dict[str, Callable[[Axes, float, np.ndarray, str], None]] = {
    "violin": draw_violin,
    "strip": draw_strip,
    "box": draw_box,
}
