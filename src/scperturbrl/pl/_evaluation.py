"""Models, baselines and the replicate ceiling, metric by metric."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._evaluation import ROLES
from scperturbrl.get._evaluation import evaluation as evaluation_frame
from scperturbrl.get._read.labels import metric_label, model_label, readable
from scperturbrl.pl._draw import style
from scperturbrl.pl._draw.evaluation_lanes import BASELINES, draw_lanes
from scperturbrl.pl._draw.looks import Look, fill, model_looks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

ALL = "all"
_STRIPE = "#F4F4F4"
# inches for title, reference lines, tick labels and axis label of a panel
_DRESS = 1.2

_ROLE_TITLES = {"rewarded": "Rewarded", "related": "Related to the reward", "held-out": "Held out"}
_ZERO, _ONE = "0: mean response of the training conditions", "1: half of the real cells predicts the other half"
_MARK, _UNFIT = "\N{NO-BREAK SPACE}*", "cannot tell a replicate from the mean response"

# shown in addition to all rewarded metrics; each measures something different
_SHOWN = (
    *("mse", "pearson_delta", "de_spearman", "de_overlap", "direction_match", "mmd"),
    *("pearson_delta_systema", "discrimination", "interaction", "variance_ratio", "zero_fraction_error"),
    "module_correlation_error",
)


@documented
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
    """Plot all models on a scale from the mean response (0) to the replicate ceiling (1).

    There is one panel for each role, because a good value of a rewarded metric is weak evidence: metrics that were
    rewarded, metrics related to the reward, and held-out metrics. Markers are medians over conditions, bars their
    interquartile range. A median outside of `limits` is an arrow at the edge, with its value. A star marks metrics that
    cannot discriminate on these data, see :func:`~scperturbrl.get.metric_calibration`.

    0 is as good as predicting the mean response of the training conditions for every condition. 1 is as good as
    predicting one half of the real cells by the other half, the :term:`replicate ceiling`.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    metrics
        Names of metrics, in this order within their role. By default the rewarded ones and a selection of the others,
        excluding those without a scaled value; ``"all"`` for every metric.
    models
        Names of models, in this order. By default generators and other predictions, with one more lane for the baselines:
        a bar from the worst to the best of them and a mark at the best. Baselines that are named have their own lanes.
    limits
        Range of the scaled scores to show.
    palette
        Colours of models by name, for those that should differ from the default.
    ax
        Axes to draw on, one for each role; a new figure by default.
    figsize
        Size of the new figure in inches; grows with metrics and models by default.
    {figure}
    {modality}

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers,
    including raw values, are those of :func:`scperturbrl.get.evaluation`.

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
    frame = evaluation_frame(adata, metrics=None if metrics == ALL else metrics, models=models)
    if metrics is None:
        frame = _selected(frame)
    looks = _looks(frame, palette or {}, pooled=models is None)
    found = set(frame["role"])
    roles = [role for role in ROLES if role in found] + sorted(found - set(ROLES))
    own = ax is None
    with style.house_style():
        axes = style.given_axes(ax, len(roles)) or _new_axes(frame, roles, looks, figsize)
        for panel, role in zip(axes, roles, strict=True):
            _draw_panel(panel, frame[frame["role"] == role], looks, limits)
            panel.set_title(_ROLE_TITLES.get(role, readable(role)), pad=style.inch(30))
            panel.set_xlabel("Scaled score: median, quartiles")
        _add_legend(axes, frame, looks, own=own)
    return style.finish(axes, own=own, show=show, return_fig=return_fig)


def _selected(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the metrics that are shown by default and have a scaled value; all rows if there are none."""
    chosen = (frame["role"] == "rewarded") | frame["metric"].isin(_SHOWN) | ~frame["role"].isin(ROLES)
    defined = frame["scaled_median"].notna().groupby(frame["metric"]).transform("any")
    for rows in (chosen & defined, defined):
        if rows.any():
            return frame[rows]
    return frame


def _looks(frame: pd.DataFrame, palette: Mapping[str, str], *, pooled: bool) -> dict[str, Look]:
    """Look of each lane: one for each model, with `pooled` one for all baselines, and none for the ceiling (at 1)."""
    looks = model_looks(frame, palette)
    kinds = dict(zip(frame["model"], frame["kind"], strict=True))
    own = {name: look for name, look in looks.items() if kinds[name] in ("generator", "prediction")}
    if not pooled or not own:
        return looks
    return own | ({BASELINES: Look(style.DARK, "D", hollow=True)} if "baseline" in kinds.values() else {})


def _new_axes(
    frame: pd.DataFrame, roles: list[str], looks: Mapping[str, Look], figsize: tuple[float, float] | None
) -> list[Axes]:
    """One panel for each role, in columns of about the same height, with rows of the same height in all of them."""
    import matplotlib.pyplot as plt

    rows, unfit = frame.groupby("role")["metric"].nunique(), _unfit(frame)
    columns = _columns(roles, rows)
    lane = style.inch(0.12 + 0.08 * max(len(looks), 3))
    heights = [sum(rows[role] + style.inch(_DRESS) / lane for role in column) for column in columns]
    label = 0.085 * max(len(line) for name in frame["metric"].unique() for line in _row_label(name, unfit).split("\n"))
    texts = [str(handle.get_label()) for handle in _handles(frame, looks)]
    width = style.inch(max(0.2 + len(columns) * (2.1 + label), 0.8 + 0.08 * max(map(len, texts))))
    height = lane * max(heights) + style.legend_height(texts, width)
    # space for the last tick label, which extends beyond the axis
    layout = ConstrainedLayoutEngine(w_pad=style.inch(0.08))
    figure = plt.figure(figsize=figsize or (width, height), layout=layout)
    grid = figure.add_gridspec(1, len(columns))
    axes: dict[str, Axes] = {}
    for i, column in enumerate(columns):
        spare = max(heights) - heights[i]
        ratios = [rows[role] for role in column] + ([spare] if spare > 0 else [])
        inner = grid[0, i].subgridspec(len(ratios), 1, height_ratios=ratios)
        axes |= {role: figure.add_subplot(inner[row]) for row, role in enumerate(column)}
    return [axes[role] for role in roles]


def _columns(roles: list[str], rows: pd.Series) -> list[list[str]]:
    """One column for each role, or two roles in one column if the third has about as many rows as both."""
    if len(roles) != 3 or rows[roles].max() < rows[roles].sum() - rows[roles].max():
        return [[role] for role in roles]
    longest = max(roles, key=lambda role: rows[role])
    return [[role for role in roles if role != longest], [longest]]


def _unfit(frame: pd.DataFrame) -> set[str]:
    """Metrics that cannot discriminate on these data; none if that was not computed."""
    return set(frame.loc[~frame["calibrated"].astype(bool), "metric"]) if "calibrated" in frame else set()


def _row_label(metric: str, unfit: set[str]) -> str:
    return textwrap.fill(metric_label(metric) + _MARK * (metric in unfit), 19)


def _draw_panel(ax: Axes, frame: pd.DataFrame, looks: Mapping[str, Look], limits: tuple[float, float]) -> None:
    names = list(dict.fromkeys(frame["metric"]))
    for row in range(0, len(names), 2):
        ax.axhspan(row - 0.5, row + 0.5, color=_STRIPE, linewidth=0, zorder=0)
    for anchor, gid, label in ((0, "baseline", "mean\nresponse"), (1, "replicate", "half of\nreal cells")):
        if limits[0] <= anchor <= limits[1]:
            ax.axvline(anchor, color=style.MIDDLE, linewidth=1, zorder=1, gid=gid)
            place: dict[str, Any] = {
                "xycoords": ("data", "axes fraction"),
                "xytext": (0, 2),
                "textcoords": "offset points",
            }
            ax.annotate(label, (anchor, 1), ha="center", va="bottom", fontsize="small", color=style.DARK, **place)
    for i, name in enumerate(names):
        defined = frame[(frame["metric"] == name) & frame["scaled_median"].notna()]
        if len(defined):
            draw_lanes(ax, i, defined, looks, limits)
        else:
            ax.annotate(
                "no scaled values",
                (0.5, i),
                xycoords=("axes fraction", "data"),
                ha="center",
                va="center",
                fontsize="small",
                color=style.DARK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
    ax.set_yticks(range(len(names)), [_row_label(name, _unfit(frame)) for name in names])
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=4, steps=[1, 2, 5, 10])
    ax.set(xlim=limits, ylim=(len(names) - 0.5, -0.5))


def _handles(frame: pd.DataFrame, looks: Mapping[str, Look]) -> list[Line2D]:
    baselines = frame.loc[frame["kind"] == "baseline", "model"].unique()
    pooled = f"Best of {len(baselines)} baselines (bar: all of them)"
    names = {BASELINES: pooled if len(baselines) > 1 else "".join(map(model_label, baselines))}
    handles = [
        Line2D([], [], linestyle="", marker=look.marker, label=names.get(name, model_label(name)), **fill(look, size=6))
        for name, look in looks.items()
    ]
    lines = [
        Line2D([], [], linestyle="", marker="|", markersize=10, color=style.MIDDLE, label=text)
        for text in (_ZERO, _ONE)
    ]
    if _unfit(frame):
        lines.append(Line2D([], [], linestyle="", marker="$*$", markersize=5, color=style.DARK, label=_UNFIT))
    return handles + lines


def _add_legend(axes: list[Axes], frame: pd.DataFrame, looks: Mapping[str, Look], *, own: bool) -> None:
    handles = _handles(frame, looks)
    if own:
        style.outside_legend(style.figure_of(axes[0]), handles)
    else:
        style.side_legend(axes[-1], handles)
