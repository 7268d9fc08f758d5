"""The objective of every pair of perturbations as a heatmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd

from scperturbrl.pl._draw.heatmap import DIVERGING
from scperturbrl.pl._draw.style import DARK, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pair_matrix(
    frame: pd.DataFrame, parts: list[tuple[str, ...]], n: int, group: str | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Objective of the pairs of the `n` perturbations in the best pairs, and which pairs were measured; NaN above the diagonal.

    `parts` are the perturbations of every candidate of `frame`.

    Raises
    ------
    ValueError
        If no candidate is a pair.
    """
    inside = frame["group"].astype(str) == (group or str(frame["group"].iloc[0]))
    chosen = np.flatnonzero((frame["n_parts"] == 2) & inside)
    pairs = frame.iloc[chosen]
    if not len(pairs):
        msg = "No candidate is a pair of perturbations. Draw `kind='ranked'`, or screen with `candidates='pairs'`."
        raise ValueError(msg)
    both = [parts[row] for row in chosen]
    best = list(dict.fromkeys(part for own in both for part in own))[:n]
    matrix = pd.DataFrame(np.nan, index=best, columns=best)
    known = pd.DataFrame(np.zeros(matrix.shape, dtype=bool), index=best, columns=best)
    position = {name: i for i, name in enumerate(best)}
    for (a, b), value, kind in zip(both, pairs["value"], pairs["kind"].astype(str), strict=True):
        if a in position and b in position:
            row, column = sorted((position[a], position[b]), reverse=True)
            matrix.iloc[row, column], known.iloc[row, column] = value, kind == "measured"
    # below the diagonal, the first perturbation has no row and the last no column
    return matrix.iloc[1:, :-1], known.iloc[1:, :-1]


def draw_pairs(ax: Axes, matrix: pd.DataFrame, known: pd.DataFrame, label: str) -> None:
    """Draw the lower half of the square; colours are centred at 0 if there are values on both sides of it."""
    values = matrix.to_numpy()
    finite = values[np.isfinite(values)]
    signed = bool((finite < 0).any() and (finite > 0).any())
    limit = float(np.abs(finite).max())
    low, high = (-limit, limit) if signed else (float(finite.min()), float(finite.max()))
    colors = mpl.colormaps[DIVERGING if signed else "viridis"]
    mesh = ax.pcolormesh(np.ma.masked_invalid(values), cmap=colors, vmin=low, vmax=high, rasterized=True, gid="heatmap")
    rows, columns = np.nonzero(known.to_numpy())
    ax.scatter(
        columns + 0.5, rows + 0.5, s=14, color="white", edgecolors=DARK, linewidths=0.8, gid="measured", zorder=3
    )
    ax.set_xticks(np.arange(matrix.shape[1]) + 0.5, list(matrix.columns), rotation=90)
    ax.set_yticks(np.arange(len(matrix)) + 0.5, list(matrix.index))
    ax.set_ylim(len(matrix), 0)
    ax.set_aspect("equal")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("Dots: measured pairs", fontsize="medium")
    figure_of(ax).colorbar(mesh, ax=ax, label=f"Objective: {label}", shrink=0.6, pad=0.02)
