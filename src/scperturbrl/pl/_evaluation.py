"""Models, baselines and the replicate ceiling, metric by metric."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scperturbrl._core.modality import pick
from scperturbrl.get._evaluation import ROLES
from scperturbrl.get._evaluation import evaluation as evaluation_frame
from scperturbrl.get._labels import metric_label, model_label, readable
from scperturbrl.pl._looks import Look, fill, model_looks
from scperturbrl.pl._style import (
    DARK,
    MIDDLE,
    figure_of,
    finish,
    given_axes,
    house_style,
    inch,
    legend_height,
    outside_legend,
    side_legend,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_STRIPE = "#F4F4F4"
# inches of title, tick labels and axis label of a panel
_DRESS = 0.9

_ROLE_TITLES = {"rewarded": "Rewarded", "related": "Related to the reward", "held-out": "Held out"}


def evaluation(
    adata: AnnData | MuData,
    *,
    metrics: str | Sequence[str] | None = None,
    models: str | Sequence[str] | None = None,
    limits: tuple[float, float] = (-1.0, 2.0),
    palette: Mapping[str, str] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot where every model stands between the mean-response baseline (0) and the replicate ceiling (1).

    One panel a role, because a rewarded metric proves little: what was rewarded, what the reward pulls along, and what
    was held out. Markers are medians over conditions, bars their interquartile range. Medians outside of
    `limits` are drawn as an arrow at the edge with their value.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    metrics
        Names of metrics, in this order within their role; all by default.
    models
        Names of models, in this order; all by default.
    limits
        Range of the scaled scores to show.
    palette
        Colours of models by name, for those that should differ from the default.
    ax
        Axes to draw on, one a role; a new figure by default.
    figsize
        Size of the new figure in inches; grows with metrics and models by default.
    show
        Whether to show the figure; as ``scanpy.settings.autoshow`` by default. Never if `ax` is given.
    return_fig
        Return the figure instead of the axes.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers,
    raw ones too, are those of :func:`scperturbrl.get.evaluation`.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If a metric or a model does not occur, or the number of axes is wrong.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> row = {"model": "generator", "kind": "generator", "metric": "mse", "role": "held-out", "n_cells": 30}
    >>> adata.uns["evaluation"] = pd.DataFrame(
    ...     [
    ...         {**row, "condition": "A", "value": 0.5, "scaled": 0.0},
    ...         {**row, "condition": "B", "value": 0.3, "scaled": 0.4},
    ...     ]
    ... )
    >>> ax = spr.pl.evaluation(adata, show=False)
    >>> ax.get_title(), [label.get_text() for label in ax.get_yticklabels()]
    ('Held out', ['MSE'])
    """
    adata = pick(adata, modality)
    if not limits[0] < limits[1]:
        msg = f"`limits` is {limits}; the first must be below the second."
        raise ValueError(msg)
    frame = evaluation_frame(adata, metrics=metrics, models=models)
    looks = model_looks(frame, palette or {})
    found = set(frame["role"])
    roles = [role for role in ROLES if role in found] + sorted(found - set(ROLES))
    own = ax is None
    with house_style():
        axes = given_axes(ax, len(roles)) or _new_axes(frame, roles, looks, figsize)
        for panel, role in zip(axes, roles, strict=True):
            _draw_panel(panel, frame[frame["role"] == role], looks, limits)
            panel.set_title(_ROLE_TITLES.get(role, readable(role)), pad=inch(18))
            panel.set_xlabel("Scaled score")
        _add_legend(axes, looks, own=own)
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _new_axes(
    frame: pd.DataFrame, roles: list[str], looks: Mapping[str, Look], figsize: tuple[float, float] | None
) -> list[Axes]:
    """One panel a role, each as high as its number of metrics asks for, in at most two columns."""
    import matplotlib.pyplot as plt

    rows = frame.groupby("role")["metric"].nunique()
    columns = _columns(roles)
    lane = inch(0.14 + 0.05 * max(len(looks), 5))
    heights = [sum(rows[role] + inch(_DRESS) / lane for role in column) for column in columns]
    label = 0.085 * max(len(line) for name in frame["metric"].unique() for line in _row_label(name).split("\n"))
    width = inch(0.2 + len(columns) * (2.4 + label))
    height = lane * max(heights) + legend_height([model_label(name) for name in looks], width)
    # room for the last tick label, which stands out over the end of the axis
    layout = ConstrainedLayoutEngine(w_pad=inch(0.1))
    figure = plt.figure(figsize=figsize or (width, inch(0.3) + height), layout=layout)
    grid = figure.add_gridspec(1, len(columns))
    axes: dict[str, Axes] = {}
    for i, column in enumerate(columns):
        spare = max(heights) - heights[i]
        ratios = [rows[role] for role in column] + ([spare] if spare > 0 else [])
        inner = grid[0, i].subgridspec(len(ratios), 1, height_ratios=ratios)
        axes |= {role: figure.add_subplot(inner[row]) for row, role in enumerate(column)}
    return [axes[role] for role in roles]


def _columns(roles: list[str]) -> list[list[str]]:
    """What was rewarded above what was held out, beside the many metrics in between."""
    if len(roles) < 3:
        return [[role] for role in roles]
    middle = roles[1:-1]
    return [[roles[0], roles[-1]], middle]


def _row_label(metric: str) -> str:
    return textwrap.fill(metric_label(metric), 19)


def _draw_panel(ax: Axes, frame: pd.DataFrame, looks: Mapping[str, Look], limits: tuple[float, float]) -> None:
    names = list(dict.fromkeys(frame["metric"]))
    for row in range(0, len(names), 2):
        ax.axhspan(row - 0.5, row + 0.5, color=_STRIPE, linewidth=0, zorder=0)
    for anchor, label in ((0, "baseline"), (1, "replicate")):
        if limits[0] <= anchor <= limits[1]:
            ax.axvline(anchor, color=MIDDLE, linewidth=1, zorder=1, gid=label)
            _note(ax, label, (anchor, 1), ("data", "axes fraction"), (0, 2), va="bottom")
    for i, name in enumerate(names):
        defined = frame[(frame["metric"] == name) & frame["scaled_median"].notna()]
        if len(defined):
            _draw_metric(ax, i, defined, looks, limits)
        else:
            _note(ax, "no scaled values", (0.5, i), ("axes fraction", "data"), (0, 0))
    ax.set_yticks(range(len(names)), [_row_label(name) for name in names])
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    ax.set(xlim=limits, ylim=(len(names) - 0.5, -0.5))


def _draw_metric(
    ax: Axes, row: int, frame: pd.DataFrame, looks: Mapping[str, Look], limits: tuple[float, float]
) -> None:
    """One lane a model: interquartile range and median, or an arrow where the median is out of sight."""
    lanes = dict(zip(looks, np.linspace(-0.38, 0.38, len(looks)) if len(looks) > 1 else [0.0], strict=True))
    clipped = {False: 0, True: 0}
    for model in frame.itertuples():
        y, look = row + lanes[model.model], looks[model.model]
        low, high = np.clip([model.scaled_q25, model.scaled_q75], *limits)
        ax.plot([low, high], [y, y], color=look.color, linewidth=1.2, alpha=0.6, zorder=2, gid="range")
        if limits[0] <= model.scaled_median <= limits[1]:
            ax.plot(model.scaled_median, y, look.marker, zorder=4, gid="median", **fill(look))
            continue
        below = bool(model.scaled_median < limits[0])
        # neighbouring lanes are closer than a line of text is high
        shift = 6 + 26 * (clipped[below] % 2)
        clipped[below] += 1
        ax.plot(
            limits[0] if below else limits[1],
            y,
            "<" if below else ">",
            clip_on=False,
            zorder=5,
            gid="clipped",
            **fill(look),
        )
        place = {"size": "x-small", "color": look.color, "ha": "left" if below else "right"}
        text = f"{model.scaled_median:.1f}" if abs(model.scaled_median) < 100 else f"{model.scaled_median:.0f}"
        edge = limits[0] if below else limits[1]
        beyond = high - low > 0.5 * (limits[1] - limits[0])
        start = edge if beyond else high if below else low
        # not struck out by its own bar
        _note(ax, text, (start, y), ("data", "data"), (shift if below else -shift, 5 * beyond), **place)


def _note(
    ax: Axes,
    text: str,
    where: tuple[float, float],
    coordinates: tuple[str, str],
    offset: tuple[float, float],
    *,
    size: str = "small",
    color: str = DARK,
    ha: str = "center",
    va: str = "center",
) -> None:
    ax.annotate(
        text,
        where,
        xycoords=coordinates,
        xytext=offset,
        textcoords="offset points",
        fontsize=size,
        color=color,
        ha=ha,
        va=va,
        zorder=5,
    )


def _add_legend(axes: list[Axes], looks: Mapping[str, Look], *, own: bool) -> None:
    handles = [
        Line2D([], [], linestyle="", marker=look.marker, label=model_label(name), **fill(look, size=6))
        for name, look in looks.items()
    ]
    if own:
        outside_legend(figure_of(axes[0]), handles)
    else:
        side_legend(axes[-1], handles)
