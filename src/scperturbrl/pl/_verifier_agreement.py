"""Scores of a verifier against a metric, for every model and condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._evaluation import evaluation as evaluation_frame
from scperturbrl.get._read.labels import metric_label, model_label, verifier_label
from scperturbrl.get._verifier_agreement import verifier_agreement as agreement_frame
from scperturbrl.get._verifier_correlation import MIN_PAIRS, spearman
from scperturbrl.pl._draw import style
from scperturbrl.pl._draw.looks import fill, model_looks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

    from scperturbrl.pl._draw.looks import Look

_SAME = "Models of the same condition"


@documented
def verifier_agreement(
    adata: AnnData | MuData,
    *,
    verifier: str = "rmse_topk",
    metric: str = "energy_distance",
    models: str | Sequence[str] | None = None,
    palette: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the score of a verifier against a metric, a point for every model and condition.

    Better values are to the right and up: the axis is inverted for a metric whose lower values are better. Lines
    connect the first model of a condition to the others. A line that rises to the right leads to cells that the
    :term:`verifier` prefers and that are better. A line that falls to the right leads to cells that the verifier
    prefers although they are worse, which is a sign of reward hacking.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    verifier
        Name of a verifier that was evaluated.
    metric
        Name of a metric, preferably one that was not rewarded.
    models
        Names of models, in this order; by default generators and other predictions, see
        :func:`scperturbrl.get.verifier_correlation`. ``"split_half"`` adds the real cells.
    palette
        Colours of models by name, for those that should differ from the default.
    ax
        Axes to draw on; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

    Returns
    -------
    The axes, the figure if `return_fig`, or None if the plot was shown. The numbers are those of
    :func:`scperturbrl.get.verifier_agreement`.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If the verifier, the metric or a model does not occur, or fewer than two models are left.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> rows = [
    ...     {"model": m, "kind": "generator", "condition": c, "metric": metric, "value": v, "scaled": v, "role": role}
    ...     for metric, role, values in (("score_rmse_topk", "rewarded", (1, 2, 3)), ("mse", "held-out", (5, 4, 6)))
    ...     for m, v in zip("xyz", values)
    ...     for c in "ABC"
    ... ]
    >>> adata.uns["evaluation"] = pd.DataFrame(rows)
    >>> ax = spr.pl.verifier_agreement(adata, verifier="rmse_topk", metric="mse", show=False)
    >>> ax.get_title()
    'Spearman −0.50 within conditions (n = 9)'
    """
    adata = pick(adata, modality)
    frame = agreement_frame(adata, verifier=verifier, metric=metric, models=models)
    # colours do not depend on which models are shown
    looks = model_looks(evaluation_frame(adata), palette or {})
    looks = {name: looks[name] for name in dict.fromkeys(frame["model"])}
    own = ax is None
    with style.house_style():
        width = style.inch(5.2)
        labels = [*map(model_label, looks), _SAME]
        axes = style.given_axes(ax, 1) or style.new_axes(
            1, figsize=figsize or (width, style.inch(4.0) + style.legend_height(labels, width))
        )
        _draw(axes[0], frame, looks)
        _dress(axes[0], frame, verifier, metric)
        _add_legend(axes[0], looks, own=own)
    return style.finish(axes, own=own, show=show, return_fig=return_fig)


def _draw(ax: Axes, frame: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    for _, part in frame.groupby("condition", sort=False):
        first, *others = part[["score", "value"]].to_numpy()
        for other in others:
            ax.plot(*zip(first, other, strict=True), "-", color=style.LIGHT, linewidth=1, zorder=1, gid="shift")
    for model, part in frame.groupby("model", sort=False):
        look = looks[str(model)]
        ax.plot(part["score"], part["value"], look.marker, linestyle="", zorder=3, gid=str(model), **fill(look, size=6))


def _dress(ax: Axes, frame: pd.DataFrame, verifier: str, metric: str) -> None:
    from scperturbrl.metrics.registry import METRICS

    ax.set_xlabel(f"{verifier_label(verifier)} (raw score)")
    # scores that lie close together have long numbers, which run into each other
    ax.locator_params(axis="x", nbins=5)
    better = METRICS[metric].higher_is_better if metric in METRICS else True
    ax.set_ylabel(metric_label(metric) + {True: "", False: " (lower is better)", None: " (dotted: best)"}[better])
    if better is False:
        ax.invert_yaxis()
    elif better is None:
        ax.axhline(METRICS[metric].best_value, linestyle=":", color=style.MIDDLE, linewidth=1, zorder=0, gid="best")
    rho = spearman(frame[["relative_score", "relative_goodness"]])
    if np.isfinite(rho):
        title = f"Spearman {rho:.2f} within conditions (n = {len(frame)})".replace("-", "\N{MINUS SIGN}")
    elif len(frame) < MIN_PAIRS:
        title = f"n = {len(frame)}: too few points for a correlation"
    else:
        title = f"One of them never differs within a condition (n = {len(frame)})"
    ax.set_title(title, fontsize="medium")


def _add_legend(ax: Axes, looks: Mapping[str, Look], *, own: bool) -> None:
    handles = [
        Line2D([], [], linestyle="", marker=look.marker, label=model_label(name), **fill(look, size=6))
        for name, look in looks.items()
    ]
    handles.append(Line2D([], [], color=style.LIGHT, label=_SAME))
    if own:
        style.outside_legend(style.figure_of(ax), handles)
    else:
        style.side_legend(ax, handles)
