"""Verifier scores of generated cells beside those of real cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_choice
from scperturbrl.get._labels import model_label, readable, verifier_label
from scperturbrl.get._slots import CellGroups
from scperturbrl.get._verifier_scores import verifier_scores as score_frame
from scperturbrl.pl._distribution import DRAW, draw_band
from scperturbrl.pl._palette import group_colors
from scperturbrl.pl._style import (
    BLUE,
    DARK,
    LIGHT,
    MIDDLE,
    figure_of,
    finish,
    given_axes,
    house_style,
    inch,
    legend_height,
    new_axes,
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


_LEGEND = ("{} (dot: median)", "Real cells (interquartile range)", "Real cells (median)")


def verifier_scores(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    groupby: str | None = None,
    verifiers: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    kind: str = "violin",
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    palette: str | Sequence[str] | Mapping[str, str] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the verifier scores of generated cells, with the real cells of the same perturbations behind them.

    One panel a verifier, one row a perturbation. The grey band is the interquartile range of the real cells and the
    dark line their median: a generator that is as good as its data puts its own median there, and one that is far to
    the right of it has learnt to please the verifier.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.score` of the generated layer, and of the observed expression for
        the band.
    key
        Whose scores: a generator's key, or ``"observed"``; by default the newest post-trained generator, else ``"generator"``.
    groupby
        Column of ``obs`` that gives the rows; the perturbation column by default.
    verifiers
        Names of the verifiers; all that were scored by default.
    perturbations
        Perturbation labels to show, in this order; all but the control by default.
    kind
        ``"violin"``; ``"strip"``, every cell; or ``"box"``, quartiles with whiskers from the 5th to the 95th percentile.
    ax
        Axes to draw on, one a verifier; a new figure by default.
    figsize
        Size of the new figure in inches; grows with the number of rows by default.
    palette
        One colour, a list or mapping with a colour a group, or ``"obs"`` for those of ``uns["<groupby>_colors"]``. One
        blue by default, because the rows are labelled.
    show
        Whether to show the figure; as ``scanpy.settings.autoshow`` by default. Never if `ax` is given.
    return_fig
        Return the figure instead of the axes.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.verifier_scores`.

    Raises
    ------
    KeyError
        If the scores or the column do not exist.
    ValueError
        If a verifier, a perturbation or `kind` is unknown, or the number of axes is wrong.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.score(adata)
    >>> axes = spr.pl.verifier_scores(adata, key="observed", verifiers=["pearson_topk", "rmse_topk"], show=False)
    >>> [ax.get_title() for ax in axes]
    ['Pearson top-k similarity', 'RMSE top-k proximity']
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    check_choice("kind", kind, list(DRAW))
    frame = score_frame(adata, key=key, groupby=groupby, verifiers=verifiers, perturbations=perturbations)
    names, groups = list(frame["verifier"].cat.categories), list(frame["group"].cat.categories)
    column = CellGroups.of(adata, groupby).column
    colors = group_colors(adata, column, groups, palette, default=BLUE)
    own = ax is None
    with house_style():
        axes = given_axes(ax, len(names)) or new_axes(
            len(names), figsize=figsize or _figsize(len(names), groups), sharey=True
        )
        for panel, name in zip(axes, names, strict=True):
            _draw_panel(panel, frame[frame["verifier"] == name], groups, colors, kind, key)
            panel.set(title=verifier_label(name), xlabel="Raw score")
        _label_rows(axes, groups, readable(column))
        _add_legend(axes, frame, colors, key, own=own)
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _figsize(n_panels: int, groups: list[str]) -> tuple[float, float]:
    row = 0.42 if len(groups) <= 12 else 0.27 if len(groups) <= 40 else 0.2
    label = 0.07 * max(map(len, groups))
    width = inch(0.5 + label + 2.2 * n_panels)
    # enough for the label of the axis where there are few rows
    return width, inch(1.0 + max(row * len(groups), 0.9)) + legend_height(_LEGEND, width)


def _draw_panel(
    ax: Axes, frame: pd.DataFrame, groups: list[str], colors: Mapping[str, str], kind: str, key: str
) -> None:
    shown = keys.OBSERVED if key == keys.OBSERVED else keys.GENERATED
    scores = {
        name: part["score"].dropna().to_numpy() for name, part in frame.groupby(["origin", "group"], observed=True)
    }
    for row, group in enumerate(groups):
        draw_band(ax, row, scores.get((keys.OBSERVED, group), np.empty(0)))
        values = scores.get((shown, group), np.empty(0))
        if len(values):
            DRAW[kind](ax, row, values, colors[group])
        else:
            ax.annotate(
                "no reference",
                (0.5, row),
                xycoords=("axes fraction", "data"),
                ha="center",
                va="center",
                color=MIDDLE,
                size="small",
            )


def _label_rows(axes: list[Axes], groups: list[str], label: str) -> None:
    for ax in axes:
        ax.set_yticks(range(len(groups)), groups)
        ax.set_ylim(len(groups) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0, labelsize="medium" if len(groups) <= 40 else "small")
        ax.tick_params(axis="y", labelleft=ax is axes[0] or ax.get_shared_y_axes().get_siblings(ax) == [ax])
    axes[0].set_ylabel(label)


def _add_legend(axes: list[Axes], frame: pd.DataFrame, colors: Mapping[str, str], key: str, *, own: bool) -> None:
    distinct = set(colors.values())
    handles: list[Patch | Line2D] = []
    if key != keys.OBSERVED:
        one = distinct.pop() if len(distinct) == 1 else MIDDLE
        handles.append(Patch(color=one, alpha=0.6, label=_LEGEND[0].format(model_label(key))))
    if (frame["origin"] == keys.OBSERVED).any():
        handles.append(Patch(color=LIGHT, label=_LEGEND[1]))
        handles.append(Line2D([], [], color=DARK, label=_LEGEND[2]))
    if own:
        outside_legend(figure_of(axes[0]), handles)
    else:
        side_legend(axes[-1], handles)
