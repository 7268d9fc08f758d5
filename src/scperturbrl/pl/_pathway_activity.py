"""Observed and generated pathway activities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.docs import documented
from scperturbrl._core.keys import OBSERVED, SPLIT, TRAIN
from scperturbrl._core.modality import pick
from scperturbrl.get._pathway_activity import pathway_activity as activity_frame
from scperturbrl.get._read.labels import model_label, readable
from scperturbrl.pl._draw.heatmap import DIVERGING, draw_heatmap, shared_colorbar, symmetric_limit
from scperturbrl.pl._draw.shown import label_height, rows_label, top_rows
from scperturbrl.pl._draw.style import finish, given_axes, house_style, inch, new_axes, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

# collections in which all names of gene sets have the same prefix
_COLLECTIONS = ("HALLMARK", "GOBP", "KEGG", "REACTOME", "WP")


@documented
def pathway_activity(
    adata: AnnData | MuData,
    *,
    keys: str | Sequence[str] | None = None,
    conditions: str | Sequence[str] | None = None,
    pathways: str | Sequence[str] | None = None,
    n_top: int | None = 30,
    n_pathways: int | None = 20,
    cmap: str = DIVERGING,
    vmax: float | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the observed and generated pathway activities of every condition.

    There is one heatmap for the observed cells and one for each generator. All have the same rows (each a
    :term:`condition`), columns (pathways) and colours, so that a pathway which a generator adds or misses is easy to
    see. Held-out conditions are in bold.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.reference` and :func:`~scperturbrl.tl.generate`.
    keys
        Layers of generated cells; those of all generators by default.
    conditions
        Conditions, or perturbation labels for all their conditions; all with at least three cells by default.
    pathways
        Names of pathways, in this order; by default see `n_pathways`.
    n_top
        Largest number of conditions: those with the strongest activity in real cells are shown, and the axis says so.
        None shows all. Those named in `conditions` are all shown.
    n_pathways
        The same for pathways.
    cmap
        Colour map, diverging.
    vmax
        Activity at the end of the colours; by default the 99th percentile of the absolute activities.
    ax
        Axes to draw on, one for the observed cells and one for each generator; a new figure by default.
    figsize
        Size of the new figure in inches; grows with conditions and pathways by default.
    {figure}
    {modality}

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.pathway_activity`.

    Raises
    ------
    KeyError
        If a layer or the network does not exist.
    ValueError
        If a condition or a pathway does not exist, `n_top` or `n_pathways` is not positive, or the number of axes is
        wrong.

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
    names = {name: list(frame[name].unique()) for name in ("condition", "pathway")}
    rows = top_rows(names["condition"], _strength(frame, "condition"), n_top if conditions is None else None)
    columns = top_rows(names["pathway"], _strength(frame, "pathway"), n_pathways if pathways is None else None)
    frame = frame[frame["condition"].isin(rows) & frame["pathway"].isin(columns)]
    models = list(frame["model"].unique())
    limit = symmetric_limit(frame["activity"].to_numpy(), vmax)
    database, labels = _without_database(columns)
    which = "the strongest in real cells"
    held_out = (frame[SPLIT] != TRAIN).any()
    ylabel = rows_label(
        "Condition (bold: held out)" if held_out else "Condition", len(rows), len(names["condition"]), which
    )
    xlabel = rows_label(database, len(columns), len(names["pathway"]), "the strongest").strip()
    own = ax is None
    with house_style():
        axes = given_axes(ax, len(models)) or new_axes(
            len(models), figsize=figsize or _figsize(rows, labels, len(models), ylabel), sharey=True
        )
        for panel, model in zip(axes, models, strict=True):
            part = frame[frame["model"] == model].pivot(index="condition", columns="pathway", values="activity")
            values = part.loc[rows, columns].to_numpy()
            mesh = draw_heatmap(panel, values, rows=rows, columns=labels, limit=limit, cmap=cmap)
            panel.set_xlabel(xlabel)
            panel.set_title(wrapped(model_label(model), width=_panel(columns)))
        axes[0].set_ylabel(ylabel)
        _mark_held_out(axes, frame)
        shared_colorbar(axes, mesh, frame["activity"].to_numpy(), limit, "Pathway activity\n(t of decoupler's ULM)")
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _strength(frame: pd.DataFrame, what: str) -> pd.Series:
    """Largest absolute activity in the observed cells, of every condition or of every pathway."""
    observed = frame[frame["model"] == OBSERVED]
    return observed["activity"].abs().groupby(observed[what]).max()


def _without_database(names: list[str]) -> tuple[str, list[str]]:
    """Common prefix of all gene sets, as in MSigDB, and their names without it."""
    first, _, _ = names[0].partition("_")
    prefix = f"{first}_"
    if first not in _COLLECTIONS or not all(name.startswith(prefix) for name in names):
        return "", names
    return readable(first.lower() if first == "HALLMARK" else first), [
        readable(name.removeprefix(prefix)) for name in names
    ]


def _panel(columns: list[str]) -> float:
    return max(0.2 * len(columns), 1.6)


def _figsize(rows: list[str], columns: list[str], n_panels: int, ylabel: str) -> tuple[float, float]:
    width = inch(1.5 + 0.075 * max(map(len, rows)) + n_panels * _panel(columns))
    height = max(0.19 * len(rows), label_height(ylabel), 2)
    # two lines beneath the names of the pathways
    return width, inch(0.9 + 0.08 * max(map(len, columns)) + height)


def _mark_held_out(axes: list[Axes], frame: pd.DataFrame) -> None:
    held_out = set(frame.loc[frame[SPLIT] != TRAIN, "condition"])
    for ax in axes:
        for label in ax.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() in held_out else "normal")
