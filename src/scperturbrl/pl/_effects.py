"""Predicted against observed effects, one point for each gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_positive
from scperturbrl.get._effects import agreement
from scperturbrl.get._effects import effects as effect_frame
from scperturbrl.get._read.labels import model_label
from scperturbrl.pl._draw import style
from scperturbrl.pl._draw.conditions import default_conditions
from scperturbrl.pl._draw.labels import spread_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

COLUMNS = 3
# room for labels if all effects have the same sign, as a share of the longer side of the axes
ROOM = 0.6

_LEGEND = ("{} most differentially expressed genes", "Other genes", "Perturbed gene")


@documented
def effects(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    conditions: str | Sequence[str] | None = None,
    n_top: int = 20,
    n_labels: int = 8,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the predicted against the observed effect of every gene.

    There is one panel for each condition. On the dotted line, predicted and observed :term:`effect` are equal. Genes in
    the shaded quadrants change in the wrong direction. The most differentially expressed genes are marked, and the
    strongest of them are labelled. The title of each panel has the correlation over all genes and the share of the
    marked genes that change in the right direction. Both exclude the genes that the condition targets.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.generate`.
    key
        Layer of generated cells; by default the newest post-trained generator, else ``"generator"``.
    conditions
        Conditions, or perturbation labels for all their conditions; by default the six test conditions with the most
        cells, or any six conditions if there are no test conditions.
    n_top
        How many of the most differentially expressed genes are marked, see :func:`scperturbrl.get.effects`.
    n_labels
        How many of these are labelled.
    ax
        Axes to draw on, one for each condition; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.effects`.

    Raises
    ------
    KeyError
        If the layer does not exist.
    ValueError
        If a condition does not exist, or the number of axes is wrong.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.generate(adata)
    >>> ax = spr.pl.effects(adata, key="generator", conditions="GENE014", show=False)
    >>> ax.get_xlabel()
    'Observed effect'
    """
    check_positive(n_top=n_top)
    adata = pick(adata, modality)
    key = default_key(adata, key)
    frame = effect_frame(adata, keys=key, conditions=conditions or default_conditions(adata, 6), n_top=n_top)
    names = list(frame["condition"].unique())
    own = ax is None
    with style.house_style():
        captions = {name: _caption(str(name), frame[frame["condition"] == name]) for name in names}
        axes = style.given_axes(ax, len(names)) or _new_axes(list(captions.values()), figsize, n_top)
        for panel, name in zip(axes, names, strict=True):
            _draw_panel(panel, frame[frame["condition"] == name], n_labels)
            panel.set_title(captions[name], fontsize="medium")
        _add_legend(axes, frame, key, n_top, own=own)
    return style.finish(axes, own=own, show=show, return_fig=return_fig)


def _new_axes(captions: list[str], figsize: tuple[float, float] | None, n_top: int) -> list[Axes]:
    columns = min(len(captions), COLUMNS)
    width = style.inch(0.3 + 3.2 * columns)
    legend = style.legend_height([label.format(n_top) for label in _LEGEND], width)
    # the layout adds no space around panels with a fixed aspect
    row = 3.4 + 0.2 * max(caption.count("\n") + 1 for caption in captions)
    size = (width, style.inch(0.4 + row * -(-len(captions) // columns)) + legend)
    return style.new_axes(len(captions), figsize=figsize or size, columns=columns)


def _draw_panel(ax: Axes, frame: pd.DataFrame, n_labels: int) -> None:
    both = frame[["observed", "predicted"]].to_numpy()
    limits = _limits(both)
    for x, y in (limits, limits[::-1]):
        ax.fill_between([0, x], 0, y, color="#F4F4F4", linewidth=0, zorder=0, gid="wrong")
    ax.plot(limits, limits, ":", color=style.MIDDLE, linewidth=1, zorder=1, gid="identity")
    for row in ("axhline", "axvline"):
        getattr(ax, row)(0, color=style.MIDDLE, linewidth=0.6, zorder=1)
    kinds: dict[str, tuple[pd.Series, dict[str, Any]]] = {
        "gene": (~frame["top"] & ~frame["target"], {"c": style.MIDDLE, "s": 8, "alpha": 0.6, "zorder": 2}),
        "target": (frame["target"], {"c": style.DARK, "s": 26, "marker": "x", "zorder": 3}),
        "top": (frame["top"], {"c": style.VERMILLION, "s": 14, "zorder": 4}),
    }
    for gid, (which, options) in kinds.items():
        width = 1.2 if gid == "target" else 0
        x, y = both[which.to_numpy()].T
        ax.scatter(x, y, linewidths=width, rasterized=True, gid=gid, **options)
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    ax.set(xlabel="Observed effect", ylabel="Predicted effect")
    named = frame[frame["top"]].sort_values("statistic", key=np.abs, ascending=False).head(n_labels)
    spread_labels(ax, named[["observed", "predicted"]].to_numpy(), named["gene"].tolist(), others=both)


def _limits(both: np.ndarray) -> tuple[float, float]:
    """Limits of both axes: all points, with room for labels on the emptier side of 0."""
    low, high = min(float(both.min()), 0.0), max(float(both.max()), 1e-6)
    return 1.12 * min(low, -ROOM * high), 1.12 * max(high, -ROOM * low)


def _caption(condition: str, frame: pd.DataFrame) -> str:
    r, direction = agreement(frame)
    held_out = "" if (frame[keys.SPLIT] == keys.TRAIN).all() else ", held out"
    title = style.wrapped(f"{condition}{held_out}", width=3.2)
    return f"{title}\nr = {r:.2f}, direction {direction:.0%}"


def _add_legend(axes: list[Axes], frame: pd.DataFrame, key: str, n_top: int, *, own: bool) -> None:
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5}
    handles = [
        Line2D([], [], color=style.VERMILLION, label=_LEGEND[0].format(n_top), **dot),
        Line2D([], [], color=style.MIDDLE, label=_LEGEND[1], **dot),
    ]
    if frame["target"].any():
        handles.append(Line2D([], [], color=style.DARK, label=_LEGEND[2], linestyle="", marker="x"))
    if not own:
        style.side_legend(axes[-1], handles)
        return
    style.figure_of(axes[0]).suptitle(model_label(key))
    style.outside_legend(style.figure_of(axes[0]), handles)
