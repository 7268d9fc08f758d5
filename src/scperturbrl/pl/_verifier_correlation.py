"""Correlation of verifiers with other metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._evaluation import ROLES
from scperturbrl.get._read.labels import metric_label, readable, verifier_label
from scperturbrl.get._verifier_correlation import MIN_PAIRS
from scperturbrl.get._verifier_correlation import verifier_correlation as correlation_frame
from scperturbrl.pl._draw.heatmap import DIVERGING, draw_heatmap, shared_colorbar
from scperturbrl.pl._draw.style import DARK, finish, given_axes, house_style, inch, new_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


@documented
def verifier_correlation(
    adata: AnnData | MuData,
    *,
    verifiers: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    models: str | Sequence[str] | None = None,
    cmap: str = DIVERGING,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot how verifier scores correlate with the other metrics over models and conditions.

    Rows are metrics, grouped by their role; columns are verifiers. Red: predictions that the :term:`verifier` prefers
    are better by the metric. Blue among the held-out metrics: the verifier prefers worse predictions, a sign of reward
    hacking. The number n of pairs of model and condition is shown above or beside the names of the metrics. With fewer
    than 8 pairs, no correlation is shown.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    verifiers
        Names of verifiers; all that were evaluated by default.
    metrics
        Names of metrics; all but the verifier scores by default.
    models
        Names of models to compare; by default generators and other predictions, see
        :func:`scperturbrl.get.verifier_correlation`.
    cmap
        Colour map, diverging.
    ax
        Axes to draw on; a new figure by default.
    figsize
        Size of the new figure in inches; grows with metrics and verifiers by default.
    {figure}
    {modality}

    Returns
    -------
    The axes, the figure if `return_fig`, or None if the plot was shown. The numbers are those of
    :func:`scperturbrl.get.verifier_correlation`. Without any number, a sentence says why.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If a verifier, a metric or a model does not occur, or fewer than two models are left.

    Examples
    --------
    >>> import pandas as pd, scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> rows = [
    ...     {"model": m, "kind": "generator", "condition": c, "metric": metric, "value": v, "role": role}
    ...     for metric, role, values in (("score_rmse_topk", "rewarded", (1, 2, 3)), ("mse", "held-out", (5, 4, 6)))
    ...     for m, v in zip("xyz", values)
    ...     for c in "ABC"
    ... ]
    >>> adata.uns["evaluation"] = pd.DataFrame(rows)
    >>> ax = spr.pl.verifier_correlation(adata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['MSE']
    """
    frame = correlation_frame(pick(adata, modality), verifiers=verifiers, metrics=metrics, models=models)
    columns, rows = list(frame["verifier"].unique()), list(frame["metric"].unique())
    values = frame.pivot(index="metric", columns="verifier", values="correlation").loc[rows, columns].to_numpy()
    own = ax is None
    with house_style():
        if not np.isfinite(values).any():
            axes = given_axes(ax, 1) or new_axes(1, figsize=figsize or (inch(5.0), inch(1.0)))
            _tell_nothing(axes[0], frame)
            return finish(axes, own=own, show=show, return_fig=return_fig)
        labels, title = _counted(frame, rows)
        names = [verifier_label(name) for name in columns]
        axes = given_axes(ax, 1) or new_axes(1, figsize=figsize or _figsize(labels, names))
        mesh = draw_heatmap(axes[0], values, rows=labels, columns=names, limit=1, cmap=cmap, rotation=45)
        _write_values(axes[0], values)
        axes[0].set_title(title, fontsize="medium")
        _mark_roles(axes[0], frame)
        shared_colorbar(axes, mesh, values, 1, "Spearman correlation\nover models and conditions")
    return finish(axes, own=own, show=show, return_fig=return_fig)


def _tell_nothing(ax: Axes, frame: pd.DataFrame) -> None:
    """A sentence instead of a page of empty fields."""
    ax.set_axis_off()
    n = int(frame["n"].max())
    why = f"at least {MIN_PAIRS} are needed" if n < MIN_PAIRS else "their scores or values do not differ"
    text = f"No correlations: {n} pairs of model and condition,\nand {why}."
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)


def _counted(frame: pd.DataFrame, metrics: list[str]) -> tuple[list[str], str]:
    """Labels of the metrics and a title; the number of pairs is in the title if it is the same for all."""
    counts = frame.groupby("metric")["n"].agg(["min", "max"]).loc[metrics]
    few = f"; \N{EN DASH}: fewer than {MIN_PAIRS}, or no difference" if frame["correlation"].isna().any() else ""
    if counts.to_numpy().min() == counts.to_numpy().max():
        return [metric_label(name) for name in metrics], f"n = {counts.iloc[0, 0]} pairs of model and condition{few}"
    ranges = [f"{low}" if low == high else f"{low}\N{EN DASH}{high}" for low, high in counts.to_numpy()]
    labels = [f"{metric_label(name)} (n = {n})" for name, n in zip(metrics, ranges, strict=True)]
    return labels, f"n: pairs of model and condition{few}"


def _figsize(rows: list[str], columns: list[str]) -> tuple[float, float]:
    labels = 0.08 * max(map(len, rows))
    return inch(3.0 + labels + 0.55 * len(columns)), inch(
        0.6 + 0.06 * max(map(len, columns)) + max(0.24 * len(rows), 2.2)
    )


def _write_values(ax: Axes, values: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "–"
        color = "white" if abs(value) > 0.65 else DARK
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize="small", color=color)


def _mark_roles(ax: Axes, frame: pd.DataFrame) -> None:
    """Name of each role at the right of its rows, and a white gap between roles."""
    roles = frame.drop_duplicates("metric")["role"].tolist()
    titles = {"rewarded": "Rewarded", "related": "Related", "held-out": "Held out"}
    for role in [name for name in ROLES if name in roles] + sorted(set(roles) - set(ROLES)):
        found = [i for i, name in enumerate(roles) if name == role]
        if found[0]:
            ax.axhline(found[0], color="white", linewidth=4, gid="gap")
        ax.annotate(
            titles.get(role, readable(role)),
            (1, (found[0] + found[-1] + 1) / 2),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
