"""History of fitting or post-training."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._read.labels import model_label, readable, verifier_label
from scperturbrl.get._read.slots import chosen
from scperturbrl.get._training_history import BOTH, read_trained
from scperturbrl.get._training_history import training_history as history_frame
from scperturbrl.pl._draw.style import (
    DARK,
    LINES,
    MIDDLE,
    ORANGE,
    PURPLE,
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
    from mudata import MuData

_TITLES = {
    "loss": ("Loss", "Flow-matching loss"),
    "reward": ("Reward", "Calibrated reward"),
    "verifiers": ("Verifiers", "Raw score"),
    "proxy_gold": ("Reward and what it stands for", "0 control cells, 1 real cells"),
    "energy": ("Energy distance to real cells", "Control cells = 1"),
    "spread": ("Spread of the cells", "Pretrained = 1"),
    "drift": ("Drift from pretrained", "Share of velocity²"),
    "rollout_drift": ("Drift in this round's cells", "Velocity²"),
}

_SERIES = {
    ("reward", "rollout"): "Cells of this round ± sd",
    ("reward", "check"): "Check, always the same noise",
    ("reward", "unrewarded"): "Check, conditions not rewarded",
    ("proxy_gold", "proxy"): "Reward",
    ("proxy_gold", "gold"): "Closeness to real cells (1 − energy distance)",
    ("spread", "check"): "Check",
    ("drift", "check"): "Check",
    ("rollout_drift", "rollout"): "Cells of this round",
}
_COLORS = {"validation": VERMILLION, BOTH: PURPLE, "gold": ORANGE, "unrewarded": ORANGE}
# the values that the guard monitors are enough for most users
EXTRA = "rollout_drift"
_IDEALS = {"reward": 1.0, "spread": 1.0, "energy": 0.0}


@documented
def training_history(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    panels: str | Sequence[str] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the history of a generator.

    After fitting: training and validation loss, and the :term:`energy distance` to the real cells (the mean over training
    and validation conditions).

    After post-training:

    - the :term:`reward`: mean and standard deviation over the cells of a round, and the mean at the checks,
    - the raw score of every :term:`verifier`,
    - the reward, together with the closeness to the real cells of conditions that are not rewarded. If the first rises
      and the second falls, the reward is being hacked,
    - the safeguards: the energy distance to real cells, the spread of the cells, and the drift from the pretrained
      generator.

    The title says in one sentence what post-training did. A dashed line marks the state that was kept. Alarms of the
    :term:`guard` are marked and labelled.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.fit_generator` or :func:`~scperturbrl.tl.rl_finetune`.
    key
        Which generator; by default the newest post-trained generator, else ``"generator"``.
    panels
        Names of the panels, see :func:`scperturbrl.get.training_history`; all but ``"rollout_drift"`` by default.
    ax
        Axes to draw on, one for each panel; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

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
    >>> ax = spr.pl.training_history(adata, key="generator", panels="loss", show=False)
    >>> ax.get_ylabel()
    'Flow-matching loss'
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    frame = history_frame(adata, key=key)
    outcome = _outcome(read_trained(adata, key))
    # without validation conditions, their panel would be empty
    found = list(frame.loc[frame["value"].notna(), "panel"].unique())
    names = [name for name in found if name != EXTRA] if panels is None else chosen("panels", panels, found)
    own = ax is None
    with house_style():
        axes = given_axes(ax, len(names)) or _new_axes(len(names), figsize, outcome)
        for panel, name in zip(axes, names, strict=True):
            _draw_panel(panel, frame[frame["panel"] == name], name)
            panel.set(title=_TITLES[name][0], ylabel=_TITLES[name][1], xlabel=outcome.unit)
            _mark(panel, name, outcome)
        _explain(axes, key, outcome, own=own)
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _new_axes(count: int, figsize: tuple[float, float] | None, outcome: Outcome) -> list[Axes]:
    columns = min(count, 3)
    width = 0.4 + 3.2 * columns
    headline = 0.2 * len(_headline(outcome, width=inch(width)))
    size = (inch(width), inch(0.9 + 2.8 * -(-count // columns) + headline))
    return new_axes(count, figsize=figsize or size, columns=columns)


def _draw_panel(ax: Axes, frame: pd.DataFrame, name: str) -> None:
    if name in _IDEALS:
        ax.axhline(_IDEALS[name], color=MIDDLE, linewidth=0.8, zorder=1)
    series = {label: part for label, part in frame.groupby("series", sort=False) if part["value"].notna().any()}
    for i, (label, part) in enumerate(series.items()):
        color = _COLORS.get(str(label), LINES[i % len(LINES)])
        style = "-" if i < len(LINES) else "--"
        marker = "o" if len(part) <= 30 else ""
        shown = _series_label(name, str(label))
        ax.plot(part["step"], part["value"], style, color=color, marker=marker, markersize=3.5, label=shown, zorder=3)
        if part["sd"].notna().any():
            low, high = part["value"] - part["sd"], part["value"] + part["sd"]
            # a single check has no area to fill
            ax.fill_between(part["step"], low, high, color=color, alpha=0.18, linewidth=0, zorder=2, gid="sd")
            if len(part) == 1:
                ax.vlines(part["step"], low, high, color=color, alpha=0.4, zorder=2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    if len(series) > 1 or set(series) & set(_COLORS):
        longest = max(len(_series_label(name, str(label))) for label in series)
        columns = 2 if longest <= 24 else 1
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=columns, fontsize="small", columnspacing=1)


def _series_label(panel: str, series: str) -> str:
    if panel == "verifiers":
        return verifier_label(series)
    return _SERIES.get((panel, series), readable(series))


class Outcome(NamedTuple):
    """How training ended: the kept state and the alarms of the guard."""

    unit: str
    kept: int | None = None
    alarms: tuple[tuple[int, str], ...] = ()
    limits: dict[str, float] = {}
    sentence: str = ""


def _outcome(record: dict[str, Any]) -> Outcome:
    params, fitted = record["params"], record["fitted"]
    # a generator inherits the params of its parent, so only its history shows how it was trained
    if "iteration" not in record["history"]:
        return Outcome("Step", int(fitted["best_step"]) if params.get("keep_best") else None)
    alarms = []
    for alarm in fitted["alarms"]:
        where, _, text = str(alarm).partition(": ")
        alarms.append((int(where.split()[-1]), text.replace("_", " ")))
    said = str(fitted["outcome"])
    return Outcome("Iteration", int(fitted["kept_iteration"]), tuple(alarms), dict(params["limits"]), said)


def _mark(ax: Axes, name: str, outcome: Outcome) -> None:
    """Mark the kept state, the alarms and the limits of the guard."""
    if outcome.kept is not None:
        ax.axvline(outcome.kept, color=DARK, linestyle="--", linewidth=1, zorder=1, gid="kept")
    for iteration in dict(outcome.alarms):
        ax.axvline(iteration, color=VERMILLION, linestyle=":", linewidth=1, alpha=0.7, zorder=1, gid="alarm")
    limit = outcome.limits.get(name)
    if limit is not None and name in ("spread", "drift"):
        for height in (1 - limit, 1 + limit) if name == "spread" else (limit,):
            ax.axhline(height, color=MIDDLE, linestyle=":", linewidth=1, zorder=1, gid="limit")


def _subject(alarm: str) -> str:
    """Subject of an alarm: the words before its verb."""
    return re.split(r" rose | is | drifted ", alarm, maxsplit=1)[0]


def _explain(axes: list[Axes], key: str, outcome: Outcome, *, own: bool) -> None:
    handles = []
    if outcome.kept is not None:
        label = f"Kept state, {outcome.unit.lower()} {outcome.kept}"
        handles.append(Line2D([], [], color=DARK, linestyle="--", label=label))
    if outcome.alarms:
        names = ", ".join(dict.fromkeys(_subject(text) for _, text in outcome.alarms))
        handles.append(Line2D([], [], color=VERMILLION, linestyle=":", label=f"Alarm: {names}"))
    if any(line.get_gid() == "limit" for ax in axes for line in ax.lines):
        handles.append(Line2D([], [], color=MIDDLE, linestyle=":", label="Limit of the guard"))
    if not own:
        _keep_legend(axes[-1])
        side_legend(axes[-1], handles)
        return
    figure = figure_of(axes[0])
    outside_legend(figure, handles)
    headline = _headline(outcome, width=figure.get_size_inches()[0])
    figure.suptitle("\n".join([model_label(key), *headline]), fontsize="medium" if headline else "large")


def _keep_legend(ax: Axes) -> None:
    """Keep the legend of the series when another one is to be added."""
    legend = ax.get_legend()
    if legend is not None:
        ax.add_artist(legend)


def _headline(outcome: Outcome, *, width: float) -> list[str]:
    """Describe what happened, and each kind of alarm, in lines of at most `width` inches."""
    letters = int(width / inch(0.082))
    lines = textwrap.wrap(outcome.sentence.replace("+-", "±"), letters)
    by_subject: dict[str, list[tuple[int, str]]] = {}
    for alarm in outcome.alarms:
        by_subject.setdefault(_subject(alarm[1]), []).append(alarm)
    for (iteration, text), *later in by_subject.values():
        more = f", and at {len(later)} later check{'s' if len(later) > 1 else ''}" if later else ""
        told = f"Alarm: {text} at iteration {iteration}{more}".replace("+-", "±")
        lines += textwrap.wrap(told, letters)
    return lines
