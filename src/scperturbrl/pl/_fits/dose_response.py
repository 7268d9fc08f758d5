"""Dose-response curves, one panel for each perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl.get._fits.dose_response import NOTHING, both_tables
from scperturbrl.get._fits.objective import objective_label
from scperturbrl.get._read.labels import model_label
from scperturbrl.pl._draw.style import (
    BLUE,
    DARK,
    GREEN,
    MIDDLE,
    PURPLE,
    SKY,
    VERMILLION,
    figure_of,
    finish,
    given_axes,
    house_style,
    inch,
    legend_height,
    new_axes,
    outside_legend,
    side_legend,
    wrapped,
)
from scperturbrl.screen.dose_response import hill

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

    from scperturbrl.get._fits.objective import Objective

COLUMNS, N_TOP = 4, 12
_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, SKY)


@documented
def dose_response(
    adata: AnnData | MuData,
    *,
    objective: Objective | None = None,
    perturbations: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    predictions: AnnData | None = None,
    n_top: int | None = N_TOP,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the response of every perturbation to its doses, with the fitted Hill curve.

    There is one panel for each perturbation and context. Dots are mean responses relative to control cells, with two
    standard errors. Lines are the curves, which start at 0; there is none for a perturbation without a response. The
    mark on a curve is its :term:`EC50`, with its 90 % interval as a bar. The title of each panel has the EC50 of the
    real cells.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.setup_anndata` with `dose_key`, and :func:`~scperturbrl.pp.split`.
    objective, perturbations, layers, predictions
        See :func:`scperturbrl.get.dose_response`.
    n_top
        Maximum number of panels: those with the smallest p-values are shown; all if None.
    ax
        Axes to draw on, one for each panel; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.dose_response` and :func:`scperturbrl.get.dose_values`.

    Raises
    ------
    KeyError
        If a layer, perturbation, gene or pathway does not exist.
    ValueError
        If no dose was declared, a perturbation has too few doses, or the number of axes is wrong.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_perturbseq(
    ...     n_genes=60, n_singles=2, n_doubles=0, n_cells_per_condition=40, n_controls=80, doses=[0.1, 1, 10]
    ... )
    >>> spr.pp.setup_anndata(adata, dose_key="dose")
    >>> spr.pp.split(adata, holdout="perturbations", fraction=0.5)
    >>> axes = spr.pl.dose_response(adata, show=False)
    >>> axes[0].get_xscale()
    'log'
    """
    points, fits = both_tables(adata, objective, perturbations, layers, predictions, modality)
    panels = _panels(fits, n_top)
    models, own = list(dict.fromkeys(fits["model"])), ax is None
    looks = _looks(models)
    with house_style():
        axes = given_axes(ax, len(panels)) or _new_axes(len(panels), figsize, models)
        for number, (panel, name) in enumerate(zip(axes, panels, strict=True)):
            for model in models:
                _draw(panel, _of(points, name, model), _of(fits, name, model), looks[model])
            own_doses = points.loc[(points[["perturbation", "context"]] == list(name)).all(axis=1), "dose"]
            panel.set_xlim(own_doses.min() / 2.5, own_doses.max() * 2.5)
            _dress(panel, name, _of(fits, name, models[0]))
            panel.set_xlabel("Dose")
            if number % COLUMNS == 0:
                panel.set_ylabel(wrapped(objective_label(objective), width=2.4))
        _add_legend(axes, looks, own=own)
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _panels(fits: pd.DataFrame, n_top: int | None) -> list[tuple[str, str]]:
    """Perturbation and context of each panel: those with the smallest p-values, sorted by name."""
    best = fits.groupby(["perturbation", "context"])["p_value"].min().sort_values(kind="stable")
    return sorted(best.index[:n_top].tolist())


def _looks(models: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each model; real cells are dark."""
    others = iter(zip(_COLORS, "sD^vP", strict=True))
    return {model: (DARK, "o") if model == keys.OBSERVED else next(others) for model in models}


def _of(frame: pd.DataFrame, name: tuple[str, str], model: str) -> pd.DataFrame:
    same = (frame["perturbation"] == name[0]) & (frame["context"] == name[1]) & (frame["model"] == model)
    return frame[same]


def _new_axes(count: int, figsize: tuple[float, float] | None, models: Sequence[str]) -> list[Axes]:
    columns = min(count, COLUMNS)
    width = inch(0.5 + 2.5 * columns)
    legend = legend_height([model_label(model) for model in models], width)
    size = (width, inch(2.5 * -(-count // columns)) + legend)
    return new_axes(count, figsize=figsize or size, columns=columns)


def _draw(ax: Axes, points: pd.DataFrame, fit: pd.DataFrame, look: tuple[str, str]) -> None:
    if fit.empty:
        return
    color, marker = look
    dose, each = points["dose"].to_numpy(), fit.iloc[0]
    style: dict[str, Any] = {"fmt": marker, "color": color, "markersize": 4.5, "linewidth": 1, "zorder": 3}
    ax.errorbar(dose, points["response"], yerr=2 * points["error"], **style)
    if each["status"] == NOTHING:
        return
    x = np.geomspace(dose.min() / 2, dose.max() * 2, 200)
    curve = {"top": each["top"], "ec50": each["ec50"], "slope": each["slope"]}
    ax.plot(x, hill(x, **curve), color=color, linewidth=1.5, zorder=2, gid="curve")
    if x[0] <= each["ec50"] <= x[-1]:
        span = np.clip([each["ec50_low"], each["ec50_high"]], x[0], x[-1])
        ax.plot(span, [each["top"] / 2] * 2, color=color, linewidth=5, alpha=0.3, zorder=1, gid="interval")
        ax.plot(each["ec50"], each["top"] / 2, "|", color=color, markersize=12, markeredgewidth=2, zorder=4, gid="ec50")


def _dress(ax: Axes, name: tuple[str, str], fit: pd.DataFrame) -> None:
    ax.axhline(0, color=MIDDLE, linewidth=0.8, zorder=0)
    ax.set_xscale("log")
    title = name[0] if name[1] == "all" else f"{name[0]}, {name[1]}"
    said = "not measured" if fit.empty else _said(fit.iloc[0])
    ax.set_title(f"{wrapped(title, width=2.3)}\n{said}", fontsize="medium")


def _said(each: pd.Series) -> str:
    if each["status"] == NOTHING:
        return NOTHING
    text = f"EC50 {each['ec50']:.2g} ({each['ec50_low']:.2g} to {each['ec50_high']:.2g})"
    return text if each["status"] == "fitted" else f"EC50 {each['status']}"


def _add_legend(axes: Sequence[Axes], looks: dict[str, tuple[str, str]], *, own: bool) -> None:
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=model_label(model))
        for model, (color, marker) in looks.items()
    ]
    if own:
        outside_legend(figure_of(axes[0]), handles)
    else:
        side_legend(axes[-1], handles)
