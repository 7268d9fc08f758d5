"""Generated cells among the observed ones, each at its own coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from scperturbrl._core import keys
from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._embedding import PCA
from scperturbrl.get._embedding import embedding as embedding_frame
from scperturbrl.get._read.labels import model_label, readable, verifier_label
from scperturbrl.pl._draw import style
from scperturbrl.pl._draw.palette import group_colors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from mudata import MuData

LEGEND_ROWS = 20
HELD_OUT = "generated, held out"
# distinct from all colours of the default map
UNSCORED = style.VERMILLION


@documented
def embedding(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    basis: str = PCA,
    color: str | None = None,
    perturbations: str | Sequence[str] | None = None,
    dimensions: tuple[int, int] = (0, 1),
    cmap: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    palette: str | Sequence[str] | Mapping[str, str] | None = None,
    size: float | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot generated cells over the observed ones.

    A generated cell is shown at the coordinates of its own expression. It is not a prediction of the observed cell in
    its row, so observed cells are never coloured by the :term:`reward` of generated ones.

    Generated cells of held-out conditions lie on top, larger and with a black outline. They usually have no reward,
    because held-out conditions have no training cells, and are then orange. Score with ``reference="observed"`` to give
    them one.
    Observed cells of held-out conditions are dark grey.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.generate` (and :func:`~scperturbrl.tl.score`, to colour by reward).
    key
        Which generated cells; by default the newest post-trained generator, else ``"generator"``.
    basis
        ``"pca"``, or a name B for which ``obsm["X_B"]`` and ``obsm["X_B_<key>"]`` exist.
    color
        The reward by default, a verifier, or a column of ``obs``.
    perturbations
        Labels whose generated cells are shown; all by default. Their observed cells are then the dark grey ones.
    dimensions
        The two dimensions, counted from 0.
    cmap, vmin, vmax
        Colour map of numbers and its limits; by default 0 to 1 for the reward, else the 1st and 99th percentile.
    palette
        Colours of categories, a list or mapping; by default those in ``uns["<color>_colors"]``, which are set if absent.
    size
        Area of a point in square points; smaller with more cells by default.
    ax
        Axes to draw on; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

    Returns
    -------
    The axes, the figure if `return_fig`, or None if the plot was shown. The numbers are those of
    :func:`scperturbrl.get.embedding`.

    Raises
    ------
    KeyError
        If coordinates, scores or the column do not exist.
    ValueError
        If a perturbation, a dimension or a colour is not valid.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.generate(adata)
    >>> ax = spr.pl.embedding(adata, key="generator", color="perturbation", show=False)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('PC1', 'PC2')
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    frame = embedding_frame(
        adata, key=key, basis=basis, color=color, perturbations=perturbations, dimensions=dimensions
    )
    # in a fixed random order, so that no perturbation lies on top of the others
    frame = frame.sample(frac=1, random_state=0)
    generated = frame[frame["origin"] == keys.GENERATED]
    observed = frame[frame["origin"] == keys.OBSERVED]
    colors = None if _is_number(adata, color) else _colors(adata, str(color), generated, palette)
    size = size or float(np.clip(40000 / len(frame), 4, 28))
    own = ax is None
    with style.house_style():
        axes = style.given_axes(ax, 1) or style.new_axes(1, figsize=figsize or _figsize(colors or {}))
        panel = axes[0]
        handles = _draw_observed(panel, observed, generated if perturbations is not None else None, size)
        label = _color_label(adata, color)
        if colors is None:
            limits = _limits(generated["value"], color, vmin, vmax)
            handles += _draw_numbers(panel, generated, size, cmap=cmap, limits=limits, label=label)
        else:
            handles += _draw_categories(panel, generated, size, colors)
        _dress(panel, basis, dimensions, title=model_label(key))
        _add_legend(panel, handles, title=None if colors is None else label, own=own)
    return style.finish(axes, own=own, show=show, return_fig=return_fig)


def _is_number(adata: AnnData, color: str | None) -> bool:
    if color is None or color not in adata.obs:
        return True
    values = adata.obs[color]
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _color_label(adata: AnnData, color: str | None) -> str:
    if color is None:
        return "Reward (0 = control cell, 1 = typical real cell)"
    return readable(color) if color in adata.obs else f"{verifier_label(color)} (raw score)"


def _colors(
    adata: AnnData, color: str, generated: pd.DataFrame, palette: str | Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    values = adata.obs[color]
    found = set(generated["value"].astype(str))
    order = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else sorted(found)
    return group_colors(adata, color, [str(name) for name in order if str(name) in found], palette)


def _figsize(colors: Mapping[str, str]) -> tuple[float, float]:
    columns = -(-len(colors) // LEGEND_ROWS)
    return style.inch(5.2 + columns * (0.35 + 0.08 * max(map(len, colors), default=0))), style.inch(4.6)


def _draw_observed(ax: Axes, observed: pd.DataFrame, generated: pd.DataFrame | None, size: float) -> list[Line2D]:
    """Draw observed cells in light grey, and in darker grey those held out or with the perturbations of `generated`."""
    if generated is None:
        dark, label = observed["held_out"], "Observed, held out"
    else:
        dark = observed["perturbation"].isin(generated["perturbation"].unique())
        label = "Observed, same perturbations"
    handles = []
    for part, color, name in ((observed[~dark], style.LIGHT, "Observed cells"), (observed[dark], style.MIDDLE, label)):
        if len(part):
            ax.scatter(
                part["x"], part["y"], s=size, c=color, linewidths=0, rasterized=True, zorder=1, gid=keys.OBSERVED
            )
            handles.append(_dot(color, name))
    return handles


def _limits(values: pd.Series, color: str | None, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    finite = values.astype(float).to_numpy()
    finite = finite[np.isfinite(finite)]
    low, high = (0.0, 1.0) if color is None or not len(finite) else np.quantile(finite, [0.01, 0.99]).tolist()
    return low if vmin is None else vmin, high if vmax is None else vmax


def _draw_numbers(
    ax: Axes, frame: pd.DataFrame, size: float, *, cmap: str, limits: tuple[float, float], label: str
) -> list[Line2D]:
    values = frame["value"].astype(float)
    known, (low, high) = values.notna(), limits
    scale = {"cmap": cmap, "norm": Normalize(low, high)}
    for held_out in (False, True):
        part = frame["held_out"] == held_out
        if (part & ~known).any():
            _scatter(ax, frame[part & ~known], size, UNSCORED if held_out else "none", held_out=held_out)
        shown = part & known
        points = _scatter(ax, frame[shown], size, values[shown].to_numpy(), held_out=held_out, **scale)
    beyond = (bool((values < low).any()), bool((values > high).any()))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    style.figure_of(ax).colorbar(points, ax=ax, label=label, extend=extend, shrink=0.8, pad=0.02, aspect=25)
    handles = []
    if (~known & ~frame["held_out"]).any():
        handles.append(_dot("none", "Generated, no reward", edge=style.MIDDLE))
    if (~known & frame["held_out"]).any():
        handles.append(_dot(UNSCORED, "Generated, held out, no reward", edge=style.BLACK))
    if (known & frame["held_out"]).any():
        handles.append(_dot("none", "Generated, held out", edge=style.BLACK))
    return handles


def _draw_categories(ax: Axes, frame: pd.DataFrame, size: float, colors: Mapping[str, str]) -> list[Line2D]:
    values = frame["value"].astype(str)
    for held_out in (False, True):
        part = (frame["held_out"] == held_out).to_numpy()
        _scatter(ax, frame[part], size, [colors[value] for value in values[part]], held_out=held_out)
    handles = [_dot(color, name) for name, color in colors.items()]
    return handles + ([_dot("none", "Held out", edge=style.BLACK)] if frame["held_out"].any() else [])


def _scatter(ax: Axes, part: pd.DataFrame, size: float, color: Any, *, held_out: bool, **scale: Any) -> PathCollection:
    """Generated cells; those held out lie on top, larger and with an outline."""
    look: dict[str, Any] = {"linewidths": 0, "zorder": 3}
    if held_out:
        look = {"edgecolors": style.BLACK, "linewidths": 0.4, "zorder": 4}
    elif isinstance(color, str):
        look = {"edgecolors": style.MIDDLE, "linewidths": 0.4, "alpha": 0.6, "zorder": 2}
    gid = HELD_OUT if held_out else keys.GENERATED
    area = size * (1.8 if held_out else 1)
    return ax.scatter(part["x"], part["y"], s=area, c=color, rasterized=True, gid=gid, **look, **scale)


def _dot(color: str, label: str, *, edge: str | None = None) -> Line2D:
    edge = edge or color
    return Line2D(
        [], [], linestyle="", marker="o", markersize=6, markerfacecolor=color, markeredgecolor=edge, label=label
    )


def _dress(ax: Axes, basis: str, dimensions: tuple[int, int], *, title: str) -> None:
    name = "PC" if basis == PCA else basis.upper()
    ax.set(xlabel=f"{name}{dimensions[0] + 1}", ylabel=f"{name}{dimensions[1] + 1}", xticks=[], yticks=[], title=title)


def _add_legend(ax: Axes, handles: list[Line2D], *, title: str | None, own: bool) -> None:
    if title is None and own:
        style.outside_legend(style.figure_of(ax), handles)
    elif title is None:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.08), **style.LEGEND)
    else:
        many = len(handles) > LEGEND_ROWS
        columns = -(-len(handles) // LEGEND_ROWS)
        options = {"handletextpad": 0.2, "columnspacing": 0.8, "fontsize": "small" if many else "medium"}
        style.side_legend(ax, handles, title=title, ncols=columns, **options)
