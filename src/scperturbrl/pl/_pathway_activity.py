"""Pathway activities, observed and generated, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.keys import SPLIT, TRAIN
from scperturbrl._core.modality import pick
from scperturbrl.get._labels import model_label, readable
from scperturbrl.get._pathway_activity import pathway_activity as activity_frame
from scperturbrl.pl._heatmap import DIVERGING, draw_heatmap, shared_colorbar, symmetric_limit
from scperturbrl.pl._style import finish, given_axes, house_style, inch, new_axes, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

# collections whose gene sets all begin with the same word
_COLLECTIONS = ("HALLMARK", "GOBP", "KEGG", "REACTOME", "WP")


def pathway_activity(
    adata: AnnData | MuData,
    *,
    keys: str | Sequence[str] | None = None,
    conditions: str | Sequence[str] | None = None,
    pathways: str | Sequence[str] | None = None,
    cmap: str = DIVERGING,
    vmax: float | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the pathway activities of every condition: observed, and by every generator.

    One heatmap for the observed cells and one a generator, with the same rows (conditions), columns (pathways) and colours,
    so that a pathway which a generator invents or forgets catches the eye. Conditions that were held out are in bold.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.reference` and :func:`~scperturbrl.tl.generate`.
    keys
        Layers of generated cells; those of all generators by default.
    conditions
        Conditions, or perturbation labels for all their conditions; all with three cells by default.
    pathways
        Names of pathways, in this order; all by default.
    cmap
        Colour map, diverging.
    vmax
        Activity at the end of the colours; by default the 99th percentile of the absolute activities.
    ax
        Axes to draw on, one for the observed cells and one a generator; a new figure by default.
    figsize
        Size of the new figure in inches; grows with conditions and pathways by default.
    show
        Whether to show the figure; as ``scanpy.settings.autoshow`` by default. Never if `ax` is given.
    return_fig
        Return the figure instead of the axes.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.pathway_activity`.

    Raises
    ------
    KeyError
        If a layer or the network does not exist.
    ValueError
        If a condition or a pathway does not exist, or the number of axes is wrong.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.generate(adata)
    >>> axes = spr.pl.pathway_activity(adata, show=False)
    >>> [ax.get_title() for ax in axes]
    ['Real cells', 'Generator']
    """
    frame = activity_frame(pick(adata, modality), keys=keys, conditions=conditions, pathways=pathways)
    rows, columns, models = (list(frame[name].unique()) for name in ("condition", "pathway", "model"))
    limit = symmetric_limit(frame["activity"].to_numpy(), vmax)
    database, labels = _without_database(columns)
    own = ax is None
    with house_style():
        axes = given_axes(ax, len(models)) or new_axes(
            len(models), figsize=figsize or _figsize(rows, labels, len(models)), sharey=True
        )
        for panel, model in zip(axes, models, strict=True):
            part = frame[frame["model"] == model].pivot(index="condition", columns="pathway", values="activity")
            values = part.loc[rows, columns].to_numpy()
            mesh = draw_heatmap(panel, values, rows=rows, columns=labels, limit=limit, cmap=cmap)
            panel.set_xlabel(database)
            panel.set_title(wrapped(model_label(model), width=_panel(columns)))
        _mark_held_out(axes, frame)
        shared_colorbar(axes, mesh, frame["activity"].to_numpy(), limit, "Activity (ULM t)")
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _without_database(names: list[str]) -> tuple[str, list[str]]:
    """Name of the collection that all gene sets begin with, as those of MSigDB do, and their names without it."""
    first, _, _ = names[0].partition("_")
    prefix = f"{first}_"
    if first not in _COLLECTIONS or not all(name.startswith(prefix) for name in names):
        return "", names
    return readable(first.lower() if first == "HALLMARK" else first), [
        readable(name.removeprefix(prefix)) for name in names
    ]


def _panel(columns: list[str]) -> float:
    return max(0.2 * len(columns), 1.6)


def _figsize(rows: list[str], columns: list[str], n_panels: int) -> tuple[float, float]:
    width = inch(1.5 + 0.075 * max(map(len, rows)) + n_panels * _panel(columns))
    return width, inch(0.6 + 0.08 * max(map(len, columns)) + max(0.19 * len(rows), 2))


def _mark_held_out(axes: list[Axes], frame: pd.DataFrame) -> None:
    held_out = set(frame.loc[frame[SPLIT] != TRAIN, "condition"])
    axes[0].set_ylabel("Condition (bold: held out)" if held_out else "Condition")
    for ax in axes:
        for label in ax.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() in held_out else "normal")
