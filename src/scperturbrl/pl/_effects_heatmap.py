"""Effects on the most differentially expressed genes, observed and generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_positive
from scperturbrl.get._effects_heatmap import effects_heatmap as effect_frame
from scperturbrl.get._read.labels import model_label
from scperturbrl.pl._draw.conditions import default_conditions
from scperturbrl.pl._draw.heatmap import DIVERGING, draw_heatmap, shared_colorbar, symmetric_limit
from scperturbrl.pl._draw.style import finish, given_axes, house_style, inch, new_axes, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

COLUMNS = 6


@documented
def effects_heatmap(
    adata: AnnData | MuData,
    *,
    keys: str | Sequence[str] | None = None,
    conditions: str | Sequence[str] | None = None,
    n_top: int = 20,
    cmap: str = DIVERGING,
    vmax: float | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot observed and generated effects on the most differentially expressed genes of some conditions.

    There is one panel for each :term:`condition`, with its own genes. If the generators are right, all cells of a row
    have the same colour.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.generate`.
    keys
        Layers of generated cells; those of all generators by default.
    conditions
        Conditions, or perturbation labels for all their conditions; by default the four test conditions with the most
        cells, or any four conditions if there are no test conditions.
    n_top
        Number of genes per condition: those with the largest absolute Welch t, without the targets of the condition.
    cmap
        Colour map, diverging.
    vmax
        Effect at the end of the colours; by default the 99th percentile of the absolute effects.
    ax
        Axes to draw on, one for each condition; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.effects_heatmap`.

    Raises
    ------
    KeyError
        If a layer does not exist.
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
    >>> ax = spr.pl.effects_heatmap(adata, conditions="GENE014", show=False)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['Real cells', 'Generator']
    """
    check_positive(n_top=n_top)
    adata = pick(adata, modality)
    frame = effect_frame(adata, keys=keys, conditions=conditions or default_conditions(adata, 4), n_top=n_top)
    names, models = list(frame["condition"].unique()), list(frame["model"].unique())
    limit = symmetric_limit(frame["effect"].to_numpy(), vmax)
    width = 0.3 + 0.36 * len(models)
    own = ax is None
    with house_style():
        columns = min(len(names), COLUMNS)
        genes = 0.08 * frame["gene"].str.len().max()
        rows = -(-len(names) // columns)
        size = inch(1.0 + columns * (width + genes)), inch(rows * (1.4 + max(0.19 * n_top, 1.6)))
        axes = given_axes(ax, len(names)) or new_axes(len(names), figsize=figsize or size, columns=columns)
        for panel, name in zip(axes, names, strict=True):
            part = frame[frame["condition"] == name]
            order = part.loc[part["model"] == models[0], "gene"].tolist()
            values = part.pivot(index="gene", columns="model", values="effect").loc[order, models].to_numpy()
            labels = [wrapped(model_label(model), width=1.3) for model in models]
            mesh = draw_heatmap(panel, values, rows=order, columns=labels, limit=limit, cmap=cmap)
            panel.set_title(wrapped(name, width=width + genes), fontsize="medium")
        shared_colorbar(axes, mesh, frame["effect"].to_numpy(), limit, "Effect (log-normalised)")
    return finish(axes, own=own, show=show, return_fig=return_fig)
