"""Shared by all plots: colours, white background, figure sizes that scale with the font, return values."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from matplotlib.artist import Artist

# Okabe and Ito, distinguishable with all common types of colour vision
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, BLACK = "#E69F00", "#56B4E9", "#F0E442", "#000000"
LINES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)

LIGHT, MIDDLE, DARK = "#DADADA", "#9A9A9A", "#404040"

_RC: dict[Any, Any] = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": DARK,
    "axes.labelcolor": BLACK,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": True,
    "axes.spines.bottom": True,
    "axes.linewidth": 0.8,
    "text.color": BLACK,
    "xtick.color": DARK,
    "ytick.color": DARK,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "xtick.bottom": True,
    "ytick.left": True,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}


def house_style() -> AbstractContextManager[None]:
    """Context in which plots do not depend on the current style, except for the user's font sizes."""
    return mpl.rc_context(_RC)


def inch(size: float) -> float:
    """`size` in inches at a font of 10 points, larger with a larger font."""
    return size * max(float(mpl.rcParams["font.size"]), 6.0) / 10


def given_axes(ax: Axes | Sequence[Axes] | None, count: int) -> list[Axes] | None:
    """Return the user's axes, one for each of `count` panels, or None.

    Raises
    ------
    ValueError
        If their number is wrong.
    """
    if ax is None:
        return None
    axes = [ax] if isinstance(ax, Axes) else list(getattr(ax, "flat", ax))
    if len(axes) != count:
        msg = f"`ax` holds {len(axes)} axes; this plot has {count} panels and needs one for each."
        raise ValueError(msg)
    return axes


def new_axes(count: int, *, figsize: tuple[float, float], columns: int | None = None, **options: Any) -> list[Axes]:
    """Make a figure with `count` panels, in rows of `columns`."""
    import matplotlib.pyplot as plt

    columns = columns or count
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=figsize, squeeze=False, layout="constrained", **options)
    for spare in axes.flat[count:]:
        figure.delaxes(spare)
    return list(axes.flat[:count])


def figure_of(ax: Axes) -> Figure:
    """Outermost figure that contains the axes."""
    figure = ax.figure
    # `get_figure(root=True)` came with matplotlib 3.10
    root = figure.figure if isinstance(figure, SubFigure) else figure
    if not isinstance(root, Figure):
        msg = "`ax` is not part of a figure."
        raise ValueError(msg)
    return root


def wrapped(text: str, *, width: float) -> str:
    """`text` in lines that fit into a panel `width` inches wide at a font of 10 points."""
    return textwrap.fill(text, max(int(width / 0.095), 10), break_on_hyphens=False, break_long_words=False)


def legend_columns(labels: Sequence[str], width: float) -> int:
    """Number of columns of a legend below a figure of `width` inches, for rows of similar length."""
    fitting = int(width / inch(0.6 + 0.075 * max(map(len, labels))))
    columns = min(max(fitting, 1), len(labels))
    return -(-len(labels) // -(-len(labels) // columns))


# set explicitly, because some scanpy functions change the legend size for the rest of the session
LEGEND: dict[str, Any] = {"fontsize": "medium", "title_fontsize": "medium", "handlelength": 2, "handletextpad": 0.8}


def legend_height(labels: Sequence[str], width: float) -> float:
    """Height of such a legend in inches."""
    return inch(0.2) * -(-len(labels) // legend_columns(labels, width))


def outside_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Draw a legend below the panels, with as many columns as fit."""
    if handles:
        columns = legend_columns([str(handle.get_label()) for handle in handles], figure.get_size_inches()[0])
        figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, columnspacing=2, **LEGEND)


def side_legend(ax: Axes, handles: Sequence[Artist], **options: Any) -> None:
    """Legend to the right of `ax`."""
    if handles:
        ax.legend(
            handles=list(handles), loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, **(LEGEND | options)
        )


def finish(axes: list[Axes], *, own: bool, show: bool | None, return_fig: bool) -> Axes | list[Axes] | Figure | None:
    """Return the figure or the axes, or nothing if the plot was shown.

    Parameters
    ----------
    axes
        Panels.
    own
        Whether the figure was created by the plot. A user's figure is never shown.
    show
        Whether to show; as in ``scanpy.settings.autoshow`` if None.
    return_fig
        Return the figure, and do not show it.
    """
    if return_fig:
        return figure_of(axes[0])
    if own and (_autoshow() if show is None else show):
        import matplotlib.pyplot as plt

        plt.show()
        return None
    return axes[0] if len(axes) == 1 else axes


def _autoshow() -> bool:
    from scanpy import settings

    return bool(settings.autoshow)
