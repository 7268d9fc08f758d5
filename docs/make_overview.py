"""Draw the picture that explains the method: ``python docs/make_overview.py`` writes ``docs/_static/overview.svg``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
LIGHT, MIDDLE, DARK = "#E4E4E4", "#9A9A9A", "#404040"
WIDTH, HEIGHT = 132.0, 70.0

TOP, BOTTOM = (41.0, 25.0), (4.0, 27.0)  # lower edge and height of the two rows
CONTROL, FLOW, CELL = (2.0, 27.0), (39.0, 50.0), (99.0, 31.0)  # left edge and width
UPDATE, GROUP, VERIFIERS = (2.0, 41.0), (52.0, 30.0), (91.0, 39.0)

RNG = np.random.default_rng(3)
BEFORE = np.array([3, 0, 5, 2, 0, 7, 1, 4, 0, 2, 6, 1, 0, 3])
AFTER = np.array([3, 2, 8, 2, 0, 3, 0, 4, 5, 2, 6, 0, 0, 4])


def main() -> None:
    """Draw and write the picture."""
    with mpl.rc_context({"font.family": "DejaVu Sans", "svg.fonttype": "path", "svg.hashsalt": "scperturbrl"}):
        figure = Figure(figsize=(11.0, 5.83))
        ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(2, 2 + HEIGHT))
        ax.axis("off")
        draw_control(ax)
        draw_flow(ax)
        draw_cell(ax)
        draw_verifiers(ax)
        draw_group(ax)
        draw_update(ax)
        draw_arrows(ax)
        target = Path(__file__).parent / "_static" / "overview.svg"
        figure.savefig(target, facecolor="white", metadata={"Date": None})


def box(ax: Axes, where: tuple[float, float], row: tuple[float, float], number: str, title: str) -> None:
    """Frame of a step, with its number and title."""
    (x, width), (y, height) = where, row
    style = "round,pad=0,rounding_size=1.4"
    ax.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor="white", edgecolor=MIDDLE, linewidth=1)
    )
    middle = y + height - 2.7
    ax.plot(x + 2.8, middle, "o", markersize=17, color=DARK)
    write(ax, x + 2.8, middle - 0.05, number, color="white", size=10, weight="bold")
    write(ax, x + 5.3, middle, title, size=12, ha="left", weight="bold")


def write(ax: Axes, x: float, y: float, text: str, *, size: float = 10, color: str = "black", **style: str) -> None:
    """Text centred at a point unless `style` says otherwise."""
    ax.text(x, y, text, fontsize=size, color=color, **{"ha": "center", "va": "center", "linespacing": 1.3, **style})


def bars(ax: Axes, x: float, y: float, counts: np.ndarray, colors: list[str]) -> None:
    """Counts of the genes of one cell."""
    at = x + 1.65 * np.arange(len(counts))
    ax.bar(at, 1.25 * counts, width=1.25, bottom=y, color=colors, align="edge")
    ax.plot([x - 0.4, at[-1] + 1.65], [y, y], color=DARK, linewidth=0.9)


def draw_control(ax: Axes) -> None:
    """Step 1: what goes in."""
    box(ax, CONTROL, TOP, "1", "Control cell")
    x = CONTROL[0] + 2.1
    bars(ax, x, 48.5, BEFORE, [MIDDLE] * len(BEFORE))
    write(ax, x + 11.4, 46.8, "genes", size=9, color=DARK)
    write(ax, x + 11.4, 43.3, "a real, unperturbed cell", size=9.5, color=DARK)


def draw_flow(ax: Axes) -> None:
    """Step 2: control cells carried to latent perturbed cells."""
    box(ax, FLOW, TOP, "2", "Generator: a flow from cell to cell")
    x0, x1, y = FLOW[0] + 9, FLOW[0] + 40, 52.6
    noise = RNG.normal(size=(70, 2)).clip(-2, 2) * (2.7, 2.4)
    side = np.where(RNG.random(70) < 0.45, -1.0, 1.0)[:, None]
    cells = np.hstack([1.8 * side, 3.1 * side]) + RNG.normal(size=(70, 2)) * (1.4, 1.1)
    for start, end in zip(noise[:26], cells[:26], strict=True):
        t = np.linspace(0, 1, 30)[:, None]
        path = (1 - t) * (start + (x0, y)) + t * (end + (x1, y))
        ax.plot(*path.T, color=LIGHT, linewidth=0.9, zorder=1)
    ax.scatter(*(noise + (x0, y)).T, s=9, color=MIDDLE, zorder=2, linewidths=0)
    ax.scatter(*(cells + (x1, y)).T, s=11, color=BLUE, zorder=2, linewidths=0)
    write(ax, x0, 45.2, "control cells, t = 0", size=9, color=DARK)
    write(ax, x1, 45.2, "latent cells, t = 1", size=9, color=DARK)
    write(ax, (x0 + x1) / 2, 42.8, "velocity  v ( x, t | control cell, perturbation )", size=9.5, color=DARK)


def draw_cell(ax: Axes) -> None:
    """Step 3: counts carried over from the control cell."""
    box(ax, CELL, TOP, "3", "Generated cell")
    colors = [VERMILLION if a > b else BLUE if a < b else MIDDLE for a, b in zip(AFTER, BEFORE, strict=True)]
    x = CELL[0] + 4.1
    bars(ax, x, 48.5, AFTER, colors)
    at = x + 1.65 * np.arange(len(BEFORE))
    for left, count in zip(at, BEFORE, strict=True):
        ax.plot([left, left + 1.25], [48.5 + 1.25 * count] * 2, color=DARK, linewidth=1.1)
    write(ax, x + 11.4, 46.8, "genes (line: control cell)", size=9, color=DARK)
    write(ax, x + 11.4, 43.3, "its counts, carried over:\nthinned or added to", size=9.5, color=DARK)


def draw_verifiers(ax: Axes) -> None:
    """Step 4: one scale for every verifier."""
    box(ax, VERIFIERS, BOTTOM, "4", "Verifiers judge every cell")
    x0, x1 = VERIFIERS[0] + 19.5, VERIFIERS[0] + 33.0
    names = ["Pearson top-k", "RMSE top-k", "DE Spearman", "Pathway activity"]
    for row, (name, value) in enumerate(zip(names, [0.55, 1.0, 0.35, 0.75], strict=True)):
        y = 22.8 - 3.1 * row
        write(ax, x0 - 2.2, y, name, size=10, ha="right")
        ax.plot([x0, x1], [y, y], color=LIGHT, linewidth=5, solid_capstyle="round", zorder=1)
        ax.plot([x0, x0 + value * (x1 - x0)], [y, y], color=GREEN, linewidth=5, solid_capstyle="round", zorder=2)
    for x, text in ((x0, "0\ncontrol\ncell"), (x1, "1\ntypical\nreal cell")):
        ax.plot([x, x], [11.9, 24.4], color=DARK, linewidth=0.8, linestyle=":", zorder=1.5)
        write(ax, x, 11.2, text, size=8.5, color=DARK, va="top")


def draw_group(ax: Axes) -> None:
    """Step 5: reward relative to the group."""
    box(ax, GROUP, BOTTOM, "5", "Reward")
    reward = np.array([0.69, 0.35, 0.8, 0.47, 0.95, 0.25, 0.7, 0.55, 1.0, 0.42])
    x0, y0, height = GROUP[0] + 5.0, 10.5, 12.5
    at = x0 + 2.25 * np.arange(len(reward))
    mean = y0 + height * reward.mean()
    for x, value in zip(at, reward, strict=True):
        y, color = y0 + height * value, GREEN if value > reward.mean() else VERMILLION
        ax.plot([x, x], [mean, y], color=color, linewidth=1.6, alpha=0.6)
        ax.plot(x, y, "o", color=color, markersize=6.5)
    ax.plot([at[0] - 1.6, at[-1] + 1.6], [mean, mean], color=DARK, linewidth=1, linestyle="--")
    write(
        ax, GROUP[0] + 15, 7.4, "cells of one perturbation, compared\nwith the mean of their group", size=9, color=DARK
    )


def draw_update(ax: Axes) -> None:
    """Step 6: what the update does and what holds it."""
    box(ax, UPDATE, BOTTOM, "6", "Post-training")
    lines = [
        (GREEN, "towards cells above their group,", "away from those below"),
        (MIDDLE, "held near the pretrained velocity", "by an anchor"),
        (BLUE, "down the energy distance", "to real training cells"),
        (VERMILLION, "stopped by a guard when", "the population gets worse"),
    ]
    for row, (color, *text) in enumerate(lines):
        y = 22.9 - 5.0 * row
        ax.plot(UPDATE[0] + 3.2, y, "s", color=color, markersize=9)
        write(ax, UPDATE[0] + 5.8, y, "\n".join(text), size=10, ha="left")


def draw_arrows(ax: Axes) -> None:
    """The way round, and the real cells behind it."""
    top, bottom = TOP[0] + 12.5, BOTTOM[0] + 13.5
    arrow(ax, (CONTROL[0] + CONTROL[1], top), (FLOW[0], top))
    arrow(ax, (FLOW[0] + FLOW[1], top), (CELL[0], top))
    arrow(ax, (CELL[0] + 15.5, TOP[0]), (CELL[0] + 15.5, BOTTOM[0] + BOTTOM[1]))
    arrow(ax, (VERIFIERS[0], bottom), (GROUP[0] + GROUP[1], bottom))
    arrow(ax, (GROUP[0], bottom), (UPDATE[0] + UPDATE[1], bottom))
    arrow(ax, (UPDATE[0] + 39, BOTTOM[0] + BOTTOM[1]), (UPDATE[0] + 39, TOP[0]), color=GREEN)
    write(ax, UPDATE[0] + 37.4, 36.0, "new velocity", size=10, ha="right", color=GREEN)
    write(ax, CELL[0] + 17.1, 36.0, "many per\nperturbation", size=9.5, ha="left", color=DARK, va="center")
    style = {"boxstyle": "round,pad=0.45", "facecolor": "#FFF4DE", "edgecolor": ORANGE}
    text = "Real training cells: fit the flow, define the verifiers"
    ax.text(66.5, 36.0, text, fontsize=10, ha="center", va="center", bbox=style)
    arrow(ax, (64.0, 37.6), (64.0, TOP[0]), color=ORANGE)
    arrow(ax, (86.3, 36.0), (97.0, BOTTOM[0] + BOTTOM[1]), color=ORANGE, bend=-0.3)
    write(ax, 15.5, 69.0, "perturbation, e.g.  A + B", size=11, color=VERMILLION, weight="bold")
    arrow(ax, (29.0, 69.0), (64.0, TOP[0] + TOP[1]), color=VERMILLION, bend=-0.12)


def arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], *, color: str = DARK, bend: float = 0.0
) -> None:
    """Arrow between two points."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=16,
            linewidth=1.8,
            color=color,
            shrinkA=1,
            shrinkB=1,
            connectionstyle=f"arc3,rad={bend}",
        )
    )


if __name__ == "__main__":
    main()
