"""How fitting or post-training went."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scperturbrl._core import keys
from scperturbrl.get._labels import model_label, readable, verifier_label
from scperturbrl.get._slots import chosen
from scperturbrl.get._training_history import read_history
from scperturbrl.get._training_history import training_history as history_frame
from scperturbrl.pl._style import (
    DARK,
    LINES,
    MIDDLE,
    VERMILLION,
    figure_of,
    finish,
    given_axes,
    house_style,
    inch,
    new_axes,
    outside_legend,
    side_legend,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLES = {
    "loss": ("Loss", "Flow-matching loss"),
    "reward": ("Reward", "Calibrated reward"),
    "verifiers": ("Verifiers", "Raw score"),
    "energy": ("Energy distance", "Share of the effect's own"),
    "spread": ("Spread of the cells", "Pretrained = 1"),
    "distance": ("Distance to pretrained", "Squared distance"),
    "drift": ("Drift from pretrained", "Relative squared distance"),
}

_IDEALS = {"reward": 1.0, "spread": 1.0, "energy": 0.0}


def training_history(
    adata: AnnData,
    *,
    key: str = keys.GENERATOR_RL,
    panels: str | Sequence[str] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Plot the history of a generator.

    After fitting: training and validation loss. After post-training: the reward (mean over the cells of a round with
    their standard deviation, and at the checks), the verifiers, and what must not suffer for it: the energy
    distance to real cells, the spread of the cells, and the distance to the pretrained generator. A dashed line marks
    the state that was kept; alarms of the guard are marked and named.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.fit_generator` or :func:`~scperturbrl.tl.rl_finetune`.
    key
        Which generator.
    panels
        Names of the panels, see :func:`scperturbrl.get.training_history`; all by default.
    ax
        Axes to draw on, one a panel; a new figure by default.
    figsize
        Size of the new figure in inches.
    show
        Whether to show the figure; as ``scanpy.settings.autoshow`` by default. Never if `ax` is given.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The axes (a list if there are several), the figure if `return_fig`, or None if the plot was shown. The numbers are
    those of :func:`scperturbrl.get.training_history`.

    Raises
    ------
    KeyError
        If there is no such generator.
    ValueError
        If a panel is unknown, or the number of axes is wrong.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> ax = spr.pl.training_history(adata, key="generator", show=False)
    >>> ax.get_ylabel()
    'Flow-matching loss'
    """
    frame = history_frame(adata, key=key)
    params = read_history(adata, key)[1]
    names = chosen("panels", panels, list(frame["panel"].unique()))
    own = ax is None
    with house_style():
        axes = given_axes(ax, len(names)) or _new_axes(len(names), figsize)
        for panel, name in zip(axes, names, strict=True):
            _draw_panel(panel, frame[frame["panel"] == name], name)
            panel.set(title=_TITLES[name][0], ylabel=_TITLES[name][1], xlabel="Step" if name == "loss" else "Iteration")
            _mark(panel, name, params)
        _explain(axes, key, params, own=own)
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _new_axes(count: int, figsize: tuple[float, float] | None) -> list[Axes]:
    columns = min(count, 3)
    size = (inch(0.4 + 3.2 * columns), inch(0.9 + 2.8 * -(-count // columns)))
    return new_axes(count, figsize=figsize or size, columns=columns)


def _draw_panel(ax: Axes, frame: pd.DataFrame, name: str) -> None:
    if name in _IDEALS:
        ax.axhline(_IDEALS[name], color=MIDDLE, linewidth=0.8, zorder=1)
    series = {label: part for label, part in frame.groupby("series", sort=False) if part["value"].notna().any()}
    for i, (label, part) in enumerate(series.items()):
        color = LINES[i % len(LINES)]
        style = "-" if i < len(LINES) else "--"
        marker = "o" if len(part) <= 30 else ""
        shown = _series_label(name, str(label))
        ax.plot(part["step"], part["value"], style, color=color, marker=marker, markersize=3.5, label=shown, zorder=3)
        if part["sd"].notna().any():
            low, high = part["value"] - part["sd"], part["value"] + part["sd"]
            # one check alone has no area to fill
            ax.fill_between(part["step"], low, high, color=color, alpha=0.18, linewidth=0, zorder=2, gid="sd")
            if len(part) == 1:
                ax.vlines(part["step"], low, high, color=color, alpha=0.4, zorder=2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    if len(series) > 1:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, fontsize="small", columnspacing=1)


def _series_label(panel: str, series: str) -> str:
    if panel == "verifiers":
        return verifier_label(series)
    if panel == "reward":
        return {"rollout": "Rollout ± sd", "check": "Check"}[series]
    return readable(series)


def _mark(ax: Axes, name: str, params: dict[str, Any]) -> None:
    """Mark the kept state, the alarms and the limits of the guard."""
    kept = _kept(params)
    if kept is not None:
        ax.axvline(kept, color=DARK, linestyle="--", linewidth=1, zorder=1, gid="kept")
    for iteration in {where for where, _ in _alarms(params)}:
        ax.axvline(iteration, color=VERMILLION, linestyle=":", linewidth=1.5, zorder=1, gid="alarm")
    limit = dict(params.get("limits", {})).get(name)
    if limit is not None and name in ("spread", "drift"):
        for height in (1 - limit, 1 + limit) if name == "spread" else (limit,):
            ax.axhline(height, color=MIDDLE, linestyle=":", linewidth=1, zorder=1, gid="limit")


def _kept(params: dict[str, Any]) -> int | None:
    if "kept_iteration" in params:
        return int(params["kept_iteration"])
    return int(params["best_step"]) if params.get("keep_best") else None


def _alarms(params: dict[str, Any]) -> list[tuple[int, str]]:
    """Iteration and text of the alarms, which read ``iteration <n>: <text>``."""
    found = []
    for alarm in params.get("alarms", []):
        where, _, text = str(alarm).partition(": ")
        found.append((int(where.split()[-1]), text))
    return found


def _explain(axes: list[Axes], key: str, params: dict[str, Any], *, own: bool) -> None:
    kept, alarms = _kept(params), _alarms(params)
    unit = "iteration" if "kept_iteration" in params else "step"
    handles = [] if kept is None else [Line2D([], [], color=DARK, linestyle="--", label=f"Kept state, {unit} {kept}")]
    if alarms:
        names = ", ".join(dict.fromkeys(text.split()[0].replace("_", " ") for _, text in alarms))
        handles.append(Line2D([], [], color=VERMILLION, linestyle=":", label=f"Alarm: {names}"))
    if not own:
        _keep_legend(axes[-1])
        side_legend(axes[-1], handles)
        return
    figure = figure_of(axes[0])
    outside_legend(figure, handles)
    figure.suptitle(_headline(key, alarms, width=int(figure.get_size_inches()[0] / inch(0.085))))


def _keep_legend(ax: Axes) -> None:
    """Keep the legend of the series when another one is to be added."""
    legend = ax.get_legend()
    if legend is not None:
        ax.add_artist(legend)


def _headline(key: str, alarms: list[tuple[int, str]], *, width: int) -> str:
    lines = [model_label(key)]
    for iteration, text in alarms[:3]:
        lines += textwrap.wrap(f"Alarm at iteration {iteration}: {text}", width)
    if len(alarms) > 3:
        lines.append(f"and {len(alarms) - 3} more alarms")
    return "\n".join(lines)
