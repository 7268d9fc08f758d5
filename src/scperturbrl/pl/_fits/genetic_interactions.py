"""Coefficients of the two parts of each pair, one row for each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from scperturbrl._core.docs import documented
from scperturbrl.get._fits.genetic_interactions import genetic_interactions as interaction_frame
from scperturbrl.get._read.labels import model_label
from scperturbrl.pl._draw import style
from scperturbrl.pl._draw.shown import N_TOP, label_height, rows_label, top_rows
from scperturbrl.screen import interactions as kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

COLORS = {
    kinds.SYNERGISTIC: style.VERMILLION,
    kinds.NEOMORPHIC: style.PURPLE,
    kinds.EPISTATIC: style.ORANGE,
    kinds.REDUNDANT: style.SKY,
    kinds.BUFFERED: style.BLUE,
    kinds.ADDITIVE: style.GREEN,
    kinds.UNCLEAR: style.MIDDLE,
}
_LEGEND = ("First part", "Second part", "Parts add up")


@documented
def genetic_interactions(
    adata: AnnData | MuData,
    *,
    pairs: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    predictions: AnnData | None = None,
    n_top: int | None = N_TOP,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the coefficients of the two parts of each pair.

    There is one panel for the real cells, and one for each model. A filled dot is the coefficient of the first part of
    the pair, a hollow one that of the second, with 90 % intervals. At 1 the effects of the parts are additive; at 0 a
    part is masked. A pair without dots has effects no larger than the measurement noise; if that holds for all pairs, the
    panel says so. Colour and label show the kind of :term:`genetic interaction`, by the rules of
    :func:`scperturbrl.get.genetic_interactions`. Pairs are sorted by kind, then by magnitude. A dot with an arrow lies
    beyond the edge.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata` and :func:`~scperturbrl.pp.split`.
    pairs, layers, predictions
        See :func:`scperturbrl.get.genetic_interactions`.
    n_top
        Maximum number of pairs: those whose magnitude differs most from that of the sum are shown; all if None.
    ax
        Axes to draw on, one for each panel; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.genetic_interactions`.

    Raises
    ------
    KeyError
        If a layer or a pair does not exist.
    ValueError
        If a pair in `pairs` does not have two parts with enough cells, or the number of axes is wrong.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> ax = spr.pl.genetic_interactions(adata, show=False)
    >>> ax.get_xlabel()
    'Coefficient of the part'
    """
    frame = interaction_frame(adata, pairs=pairs, layers=layers, predictions=predictions, modality=modality)
    names = _order(frame)
    distance = (frame["magnitude"] - np.sqrt(2)).abs().groupby(frame["condition"]).max()
    rows = top_rows(names, distance, n_top)
    models, own = list(dict.fromkeys(frame["model"])), ax is None
    ylabel = rows_label("Pair", len(rows), len(names), "furthest from a sum")
    with style.house_style():
        axes = style.given_axes(ax, len(models)) or style.new_axes(
            len(models), figsize=figsize or _figsize(rows, len(models), ylabel), sharey=True
        )
        limits = _limits(frame[frame["condition"].isin(rows)])
        for panel, model in zip(axes, models, strict=True):
            _draw(panel, frame[frame["model"] == model].set_index("condition"), rows, limits)
            own_frame = frame[(frame["model"] == model) & frame["condition"].isin(rows)]
            if len(own_frame) and own_frame["first_low"].isna().all():
                _draw_nothing_clear(panel, int(own_frame["n_cells"].median()))
            panel.set_xlabel(_label(own_frame))
            if len(models) > 1:
                panel.set_title(model_label(model), fontsize="medium")
        axes[0].set_yticks(range(len(rows)), rows)
        axes[0].set_ylabel(ylabel)
        _add_legend(axes, own=own)
    return style.finish(axes, own=own, show=show, return_fig=return_fig)


def _order(frame: pd.DataFrame) -> list[str]:
    """Pairs sorted by kind and magnitude in the first model."""
    first = frame.drop_duplicates("condition")
    rank = first["interaction"].map({kind: i for i, kind in enumerate(COLORS)})
    return list(first.assign(rank=rank).sort_values(["rank", "magnitude"], ascending=[True, False])["condition"])


def _label(frame: pd.DataFrame) -> str:
    known = frame["first_low"].notna()
    silent = known.any() and not known.all()
    return "Coefficient of the part" + ("\n(no dots: the noise is as large as an effect)" if silent else "")


def _limits(frame: pd.DataFrame) -> tuple[float, float]:
    """Limits that contain the coefficients of all pairs with a clear kind, and at least -0.25 to 1.5."""
    clear = frame.loc[frame["interaction"] != kinds.UNCLEAR, ["first_coefficient", "second_coefficient"]].to_numpy()
    low, high = (float(clear.min()), float(clear.max())) if clear.size else (0.0, 1.0)
    return min(low, 0.0) - 0.25, max(high, 1.25) + 0.25


def _figsize(rows: Sequence[str], n_models: int, ylabel: str) -> tuple[float, float]:
    width = style.inch(0.5 + 3.6 * n_models + 0.075 * max(map(len, rows)))
    height = style.inch(1.0 + max(0.26 * len(rows), label_height(ylabel)))
    return width, height + style.legend_height(_LEGEND, width)


def _draw(ax: Axes, frame: pd.DataFrame, rows: Sequence[str], limits: tuple[float, float]) -> None:
    ax.axvline(0, color=style.MIDDLE, linewidth=0.8, zorder=1)
    ax.axvline(1, color=style.DARK, linestyle=":", linewidth=1.2, zorder=1, gid="sum")
    for row, name in enumerate(rows):
        if name not in frame.index:
            continue
        each = frame.loc[name]
        color = COLORS[each["interaction"]]
        for part, offset, face in (("first", -0.13, color), ("second", 0.13, "white")):
            value, low, high = (float(each[f"{part}_{what}"]) for what in ("coefficient", "low", "high"))
            _draw_part(ax, (value, low, high), row + offset, limits, color, face, gid=part)
        words: dict[str, Any] = {"color": color, "va": "center", "transform": ax.get_yaxis_transform(), "gid": "kind"}
        ax.text(1.04, row, each["interaction"], **words)
    ax.set(xlim=limits, ylim=(len(rows) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    for row in range(1, len(rows)):
        ax.axhline(row - 0.5, color=style.LIGHT, linewidth=0.5, zorder=0)


def _draw_nothing_clear(ax: Axes, n_cells: int) -> None:
    """Say why the panel is empty, and what would fill it."""
    ax.text(
        0.5,
        0.5,
        "Effects are no larger than the noise\n"
        f"of about {n_cells} cells a pair: no coefficient\ncan be told. Measure more cells of the\npairs, their parts and the controls.",
        transform=ax.transAxes,
        ha="center",
        va="center",
        size="small",
        color=style.DARK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 3},
        zorder=4,
        gid="nothing-clear",
    )


def _draw_part(
    ax: Axes,
    span: tuple[float, float, float],
    y: float,
    limits: tuple[float, float],
    color: str,
    face: str,
    *,
    gid: str,
) -> None:
    value, low, high = span
    # a coefficient without an interval was not estimated
    if not np.isfinite(low):
        return
    ax.plot(np.clip([low, high], *limits), [y, y], color=color, linewidth=1.2, alpha=0.7, zorder=2, gid=f"{gid}_range")
    # an interval that goes on beyond the axes ends in an arrowhead
    for end, edge, head in ((low, limits[0], "<"), (high, limits[1], ">")):
        if (end < edge) if head == "<" else (end > edge):
            ax.plot(edge, y, head, color=color, markersize=3.5, clip_on=False, zorder=2, gid=f"{gid}_cut")
    marker = "o" if limits[0] <= value <= limits[1] else ">" if value > limits[1] else "<"
    place = float(np.clip(value, *limits))
    ax.plot(place, y, marker, color=color, markerfacecolor=face, markersize=5.5, clip_on=False, zorder=3, gid=gid)


def _add_legend(axes: Sequence[Axes], *, own: bool) -> None:
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 6, "color": style.DARK}
    handles = [
        Line2D([], [], label=_LEGEND[0], **dot),
        Line2D([], [], label=_LEGEND[1], markerfacecolor="white", **dot),
        Line2D([], [], label=_LEGEND[2], color=style.DARK, linestyle=":"),
    ]
    if own:
        style.outside_legend(style.figure_of(axes[0]), handles)
    else:
        # beyond the words
        axes[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.35, 1), borderaxespad=0, **style.LEGEND)
