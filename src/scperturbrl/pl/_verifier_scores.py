"""Verifier scores of generated and real cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_choice
from scperturbrl.get._read.labels import model_label, readable, verifier_label
from scperturbrl.get._read.slots import CellGroups
from scperturbrl.get._verifier_scores import verifier_scores as score_frame
from scperturbrl.pl._draw import style
from scperturbrl.pl._draw.distribution import DRAW, HALF, draw_band
from scperturbrl.pl._draw.palette import group_colors
from scperturbrl.pl._draw.shown import N_TOP, label_height, rows_label, top_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


# without their network these verifiers score no condition at all
_NETWORKS = {"pathway_activity": keys.PATHWAY_NETWORK, "tf_activity": keys.TF_NETWORK}
_LEGEND = ("{} (dot: median)", "Real cells (interquartile range)", "Real cells (median)")


@documented
def verifier_scores(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    groupby: str | None = None,
    verifiers: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    kind: str = "violin",
    n_top: int | None = N_TOP,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    palette: str | Sequence[str] | Mapping[str, str] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the verifier scores of generated cells, with the real cells of the same conditions behind them.

    There is one panel for each :term:`verifier` and one row for each :term:`condition`. The grey band is the
    interquartile range of the real cells and the dark line is their median. The median of a good generator lies on that
    line. A median far to the right of it is a warning: the generator may exploit the verifier. A row says "no reference"
    if there are no training cells to score against, and "no response" if there are, but nothing that the verifier looks
    for, such as a gene set, changed in them. A panel says "no network" if none was given.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.score` of the generated layer, and of the observed expression for
        the band.
    key
        Name of the scores: a generator's key, or ``"observed"``; by default the newest post-trained generator, else
        ``"generator"``.
    groupby
        Column of ``obs`` that defines the rows; by default the condition, so that cell types and doses are separate.
    verifiers
        Names of the verifiers; all that were scored by default.
    perturbations
        Perturbation labels to show, in this order; all but the control by default.
    kind
        ``"violin"``, from the 1st to the 99th percentile; ``"strip"``, every cell; or ``"box"``, quartiles with
        whiskers from the 5th to the 95th percentile.
    n_top
        Largest number of rows: those with the most scored cells are shown, and the axis says so. None shows all. Rows
        of `perturbations` are all shown.
    ax
        Axes to draw on, one for each verifier; a new figure by default.
    figsize
        Size of the new figure in inches; grows with the number of rows by default.
    palette
        One colour, a list or mapping with a colour for each group (each perturbation if the rows are conditions), or
        ``"obs"`` for those of ``uns["<column>_colors"]``. One blue by default, because the rows are labelled.
    {figure}
    {modality}

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.verifier_scores`.

    Raises
    ------
    KeyError
        If the scores or the column do not exist.
    ValueError
        If a verifier, a perturbation or `kind` is unknown, `n_top` is not positive, or the number of axes is wrong.

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
    names, everything = list(frame["verifier"].cat.categories), list(frame["group"].cat.categories)
    scored = frame[frame["score"].notna() & (frame["origin"] == _origin(key))]
    n_scored = scored.groupby("group", observed=True)["cell"].nunique()
    groups = top_rows(everything, n_scored, n_top if perturbations is None else None)
    frame = frame[frame["group"].isin(groups)]
    colors = _colors(adata, groupby, groups, palette)
    label = rows_label(
        "Condition" if groupby is None else readable(groupby), len(groups), len(everything), "the most scored cells"
    )
    own, judged = ax is None, _with_reference(adata, frame)
    with style.house_style():
        axes = style.given_axes(ax, len(names)) or style.new_axes(
            len(names), figsize=figsize or _figsize(len(names), groups, label), sharey=True
        )
        for panel, name in zip(axes, names, strict=True):
            of_panel = frame[frame["verifier"] == name]
            if of_panel["score"].isna().all() and _NETWORKS.get(name, "") not in {"", *adata.uns}:
                _draw_no_network(panel)
            else:
                _draw_panel(panel, of_panel, groups, colors, kind, key, judged)
            _note_missing(panel)
            panel.set(title=verifier_label(name), xlabel="Raw score")
        _label_rows(axes, groups, label)
        _add_legend(axes, frame, colors, key, own=own)
    return style.finish(axes, own=own, show=show, return_fig=return_fig)


def _figsize(n_panels: int, groups: list[str], ylabel: str) -> tuple[float, float]:
    row = 0.42 if len(groups) <= 12 else 0.27 if len(groups) <= 40 else 0.2
    width = style.inch(0.5 + 0.07 * max(map(len, groups)) + 2.2 * n_panels)
    return width, style.inch(1.0 + max(row * len(groups), label_height(ylabel))) + style.legend_height(_LEGEND, width)


def _origin(key: str) -> str:
    return keys.OBSERVED if key == keys.OBSERVED else keys.GENERATED


def _colors(
    adata: AnnData, groupby: str | None, groups: list[str], palette: str | Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    """Colour of each group; that of its perturbation if groups are conditions."""
    if groupby is not None:
        return group_colors(adata, groupby, groups, palette, default=style.BLUE)
    conditions, perturbations = CellGroups.by_condition(adata), CellGroups.of(adata, None)
    cells = pd.DataFrame({"condition": conditions.labels, "perturbation": perturbations.labels}).astype(str)
    label = cells.drop_duplicates("condition").set_index("condition")["perturbation"]
    column, names = perturbations.column, list(dict.fromkeys(label[groups]))
    found = group_colors(adata, column, names, palette, default=style.BLUE)
    return {group: found[label[group]] for group in groups}


def _draw_panel(
    ax: Axes,
    frame: pd.DataFrame,
    groups: list[str],
    colors: Mapping[str, str],
    kind: str,
    key: str,
    judged: set[str],
) -> None:
    shown = _origin(key)
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
                "no response" if group in judged else "no reference",
                (0.5, row),
                xycoords=("axes fraction", "data"),
                ha="center",
                va="center",
                color=style.DARK,
                size="small",
                # legible even if the band is as wide as the panel
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                gid="missing",
            )


def _with_reference(adata: AnnData, frame: pd.DataFrame) -> set[str]:
    """Rows with something to score by: their condition has a reference, or other cells or verifiers have a score."""
    scored = set(frame.loc[frame["score"].notna(), "group"].astype(str))
    effects = adata.varm.get(keys.EFFECT)
    return scored | (set(map(str, effects.columns)) if isinstance(effects, pd.DataFrame) else set())


def _draw_no_network(ax: Axes) -> None:
    """One note for the panel, with the remedy: no row differs from another."""
    ax.set(xlim=(-1, 1), xticks=[])
    ax.annotate(
        "no network:\ngive one to\npp.reference",
        (0.5, 0.5),
        xycoords="axes fraction",
        ha="center",
        va="center",
        color=style.DARK,
        size="small",
        gid="no-network",
    )


def _note_missing(ax: Axes) -> None:
    """Move the notes of rows without scores to the side of the band of real cells with more room."""
    bands = {
        round(band.get_y() + HALF): (band.get_x(), band.get_x() + band.get_width())
        for band in ax.patches
        if isinstance(band, Rectangle) and band.get_gid() == "band"
    }
    left, right = ax.get_xlim()
    for note in ax.texts:
        row = round(note.get_position()[1])
        if note.get_gid() == "missing" and row in bands:
            low, high = bands[row]
            to_right = right - high > low - left
            note.set_x(0.98 if to_right else 0.02)
            note.set_horizontalalignment("right" if to_right else "left")


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
        one = distinct.pop() if len(distinct) == 1 else style.MIDDLE
        handles.append(Patch(color=one, alpha=0.6, label=_LEGEND[0].format(model_label(key))))
    if (frame["origin"] == keys.OBSERVED).any():
        handles.append(Patch(color=style.LIGHT, label=_LEGEND[1]))
        handles.append(Line2D([], [], color=style.DARK, label=_LEGEND[2]))
    if own:
        style.outside_legend(style.figure_of(axes[0]), handles)
    else:
        style.side_legend(axes[-1], handles)
