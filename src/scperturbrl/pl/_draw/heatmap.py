"""Heatmaps that share a colour scale centred at 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from scperturbrl.pl._draw.style import figure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

# red and blue are distinguishable with all common types of colour vision
DIVERGING = "RdBu_r"
_MISSING = "#F0F0F0"


def symmetric_limit(values: np.ndarray, vmax: float | None, *, share: float = 0.99) -> float:
    """Upper limit of a scale centred at 0: `vmax`, or the quantile `share` of the absolute values."""
    if vmax is not None:
        if not vmax > 0:
            msg = f"`vmax` is {vmax!r}; it must be above 0."
            raise ValueError(msg)
        return vmax
    finite = np.abs(values[np.isfinite(values)])
    return max(float(np.quantile(finite, share)), 1e-9) if len(finite) else 1.0


def draw_heatmap(
    ax: Axes,
    values: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    limit: float,
    cmap: str,
    rotation: float = 90,
) -> QuadMesh:
    """Draw `values` ``(rows, columns)``, the first row at the top; cells without a value are light grey."""
    colors = mpl.colormaps[cmap].with_extremes(bad=_MISSING)
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(values), cmap=colors, vmin=-limit, vmax=limit, rasterized=True, gid="heatmap"
    )
    ax.set_xticks(np.arange(len(columns)) + 0.5, list(columns), rotation=rotation)
    ax.set_yticks(np.arange(len(rows)) + 0.5, list(rows))
    if rotation not in (0, 90):
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    ax.set_ylim(len(rows), 0)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return mesh


def shared_colorbar(axes: list[Axes], mesh: QuadMesh, values: np.ndarray, limit: float, label: str) -> None:
    """One colour bar to the right of all `axes`, with pointed ends if values exceed the limits."""
    beyond = (bool((values < -limit).any()), bool((values > limit).any()))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    height = figure_of(axes[0]).get_size_inches()[1]
    figure_of(axes[0]).colorbar(
        mesh, ax=axes, label=label, extend=extend, shrink=min(1, 3 / height), pad=0.02, aspect=20
    )
