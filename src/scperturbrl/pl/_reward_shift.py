"""Rewards before and after post-training, one row for each condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._gap_closed import PASSED
from scperturbrl.get._read.labels import model_label, verifier_label
from scperturbrl.get._reward_shift import reward_shift as shift_frame
from scperturbrl.metrics.bootstrap import ratio_interval
from scperturbrl.pl._draw.palette import group_colors
from scperturbrl.pl._draw.shown import N_TOP, label_height, rows_label, top_rows
from scperturbrl.pl._draw.style import (
    BLUE,
    DARK,
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


@documented
def reward_shift(
    adata: AnnData | MuData,
    *,
    before: str = keys.GENERATOR,
    after: str = keys.GENERATOR_RL,
    verifier: str | None = None,
    n_top: int | None = N_TOP,
    palette: str | Sequence[str] | Mapping[str, str] | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the change of the mean reward of every condition in post-training: 0 = control cells, 1 = real cells.

    A grey dot is the :term:`reward` before post-training, a coloured one after it. Conditions are sorted by the shift.
    Hollow dots are held-out conditions. A dot to the right of the line of the real cells is not better than one on the
    line. The title gives the share of the gap to real cells that is closed, with its 95 % interval over conditions, and the
    number of conditions whose reward rises above that of real cells. Conditions without a reward are left out, and the axis
    says how many (:func:`scperturbrl.get.reward_shift` explains why, and how to score held-out conditions).

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.score` of both layers and of the real cells.
    before, after
        Names of the scores.
    verifier
        Show the raw score of this verifier instead of the reward; a tick marks the real cells of each condition.
    n_top
        Largest number of rows: those with the largest shifts are shown, and the axis says so. None shows all.
    palette
        Colours of the dots after post-training: one colour, a list or mapping with a colour for each perturbation, or
        ``"obs"`` for those of ``uns["<perturbation_key>_colors"]``. One blue by default, because the rows are labelled.
    ax
        Axes to draw on; a new figure by default.
    figsize
        Size of the new figure in inches; grows with the number of conditions by default.
    {figure}
    {modality}

    Returns
    -------
    The axes, the figure if `return_fig`, or None if the plot was shown. The numbers are those of
    :func:`scperturbrl.get.reward_shift`.

    Raises
    ------
    KeyError
        If the scores or the verifier do not exist.
    ValueError
        If no condition has a value both before and after, or `n_top` is not positive.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.score(adata)
    >>> ax = spr.pl.reward_shift(adata, before="observed", after="observed", verifier="rmse_topk", show=False)
    >>> ax.get_xlabel().splitlines()[0]
    'RMSE top-k proximity (raw score)'
    """
    adata = pick(adata, modality)
    frame = shift_frame(adata, before=before, after=after, verifier=verifier)
    scored = frame[frame["shift"].notna()].sort_values(["shift", "condition"], ascending=[False, True])
    if scored.empty:
        raise ValueError(_nothing(frame, before, after))
    names = scored["condition"].tolist()
    title = _closed(scored, relative=verifier is None)
    shown = top_rows(names, scored.set_index("condition")["shift"].abs(), n_top)
    scored = scored[scored["condition"].isin(shown)]
    colors = _colors(adata, scored, palette)
    own = ax is None
    with house_style():
        labels = [label for label, *_ in _legend(scored, before, after, relative=verifier is None)]
        ylabel = rows_label("Condition", len(shown), len(names), "the largest shifts")
        axes = given_axes(ax, 1) or new_axes(1, figsize=figsize or _figsize(scored, labels, ylabel))
        _draw(axes[0], scored, colors, relative=verifier is None)
        label = "Mean reward (0 = control cells, 1 = real cells)" if verifier is None else _score(verifier)
        axes[0].set_xlabel(label + _left_out(len(frame) - len(names)))
        axes[0].set_ylabel(ylabel)
        axes[0].set_title(title, loc="left", fontsize="medium")
        _add_legend(axes[0], scored, (before, after), colors, own=own, relative=verifier is None)
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _closed(frame: pd.DataFrame, *, relative: bool) -> str:
    """How much of the gap to real cells is closed, in words; nothing where real cells were not scored."""
    prefix = "reward_" if relative else ""
    before, after, real = (frame[prefix + name].to_numpy(dtype=float) for name in ("before", "after", "observed"))
    known = np.isfinite(real)
    before, after, real = before[known], after[known], real[known]
    if not len(real):
        return ""
    share, low, high = ratio_interval(after - before, real - before)
    passed = int(((after > real + PASSED) & (before <= real + PASSED)).sum())
    interval = f" ({100 * low:.0f} to {100 * high:.0f} %)" if np.isfinite(low) else ""
    gap = f"{100 * share:.0f} % of the gap closed{interval}" if np.isfinite(share) else "No gap to real cells"
    return f"{gap}\n{passed} of {len(real)} condition{'s' if len(real) > 1 else ''} raised above real cells"


def _nothing(frame: pd.DataFrame, before: str, after: str) -> str:
    """Message if there is nothing to draw, with the remedy."""
    text = f"No condition has a value both in {before!r} and in {after!r}"
    if "reward_observed" in frame and not frame["reward_observed"].notna().any():
        return f"{text} that can be scaled: the real cells were not scored. Call `scperturbrl.tl.score(adata)` first."
    return f"{text}: they have no reference. Score with `reference='observed'`."


def _left_out(count: int) -> str:
    return f"\n{count:,} condition{'s' if count > 1 else ''} without a value not shown" if count else ""


def _score(verifier: str) -> str:
    return f"{verifier_label(verifier)} (raw score)"


def _colors(
    adata: AnnData, frame: pd.DataFrame, palette: str | Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    """Colour of each condition, that of its perturbation."""
    from scperturbrl.data.cells.setup import Setup

    names = list(dict.fromkeys(frame["perturbation"]))
    found = group_colors(adata, Setup.of(adata).perturbation_key, names, palette, default=BLUE)
    return {row.condition: found[row.perturbation] for row in frame.itertuples()}


def _figsize(frame: pd.DataFrame, labels: list[str], ylabel: str) -> tuple[float, float]:
    width = inch(4.2 + 0.075 * frame["condition"].str.len().max())
    row = 0.26 if len(frame) <= 20 else 0.2 if len(frame) <= 40 else 0.18
    # two lines beneath the axis, and two above
    return width, inch(1.45 + max(row * len(frame), label_height(ylabel))) + legend_height(labels, width)


def _draw(ax: Axes, frame: pd.DataFrame, colors: Mapping[str, str], *, relative: bool) -> None:
    if relative:
        ax.axvline(0, color=MIDDLE, linewidth=0.8, zorder=1, gid="control")
        ax.axvline(1, color=DARK, linewidth=1.5, zorder=1, gid="observed")
    for row, each in enumerate(frame.itertuples()):
        color = colors[each.condition]
        ax.plot([each.before, each.after], [row, row], color=color, linewidth=2, alpha=0.5, zorder=2, gid="shift")
        for gid, value, tone, order in (("before", each.before, MIDDLE, 3), ("after", each.after, color, 4)):
            face = tone if each.seen else "white"
            ax.plot(value, row, "o", color=tone, markerfacecolor=face, markersize=6, zorder=order, gid=gid)
        if not relative and np.isfinite(each.observed):
            ax.plot(each.observed, row, "|", color=DARK, markersize=11, markeredgewidth=1.5, zorder=1, gid="observed")
    ax.set_yticks(range(len(frame)), frame["condition"].tolist())
    ax.tick_params(axis="y", length=0, labelsize="medium" if len(frame) <= 40 else "small")
    ax.set_ylim(len(frame) - 0.4, -0.6)


def _legend(frame: pd.DataFrame, before: str, after: str, *, relative: bool) -> list[tuple[str, str, str, bool]]:
    """Label, marker, kind of colour and fill of every entry."""
    found = [(model_label(before), "o", "before", False), (model_label(after), "o", "after", False)]
    if not frame["seen"].all():
        found.append(("Not seen in training", "o", "unseen", True))
    if frame[keys.OBSERVED].notna().any():
        found.append(("Real cells (mean)", "line" if relative else "|", "observed", False))
    return found


def _add_legend(
    ax: Axes,
    frame: pd.DataFrame,
    names: tuple[str, str],
    colors: Mapping[str, str],
    *,
    own: bool,
    relative: bool,
) -> None:
    entries = _legend(frame, *names, relative=relative)
    distinct = set(colors.values())
    tones = {
        "before": MIDDLE,
        "after": distinct.pop() if len(distinct) == 1 else DARK,
        "unseen": DARK,
        "observed": DARK,
    }
    handles = []
    for label, marker, kind, hollow in entries:
        style: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": 7, "markeredgewidth": 1.5}
        if marker == "line":
            style = {"linewidth": 1.5}
        handles.append(Line2D([], [], color=tones[kind], label=label, **style))
        if hollow:
            handles[-1].set_markerfacecolor("white")
    if own:
        outside_legend(figure_of(ax), handles)
    else:
        side_legend(ax, handles)
