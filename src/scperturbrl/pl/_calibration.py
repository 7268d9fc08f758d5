"""Per-gene variance and zero fraction, generated against observed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._calibration import VARIANCE, ZERO_FRACTION
from scperturbrl.get._calibration import calibration as calibration_frame
from scperturbrl.get._read.labels import model_label
from scperturbrl.pl._draw import style

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_TITLES = {VARIANCE: "Variance within a condition", ZERO_FRACTION: "Share of cells without the gene"}


@documented
def calibration(
    adata: AnnData | MuData,
    *,
    key: str | None = None,
    conditions: str | Sequence[str] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot whether generated cells vary as much as real ones and have as many zeros. Every gene is a point.

    On the dotted line, generated cells are like real ones. In the left panel, a gene below the line varies too little
    within a :term:`condition`: cells have collapsed towards their mean. In the right panel, a gene below the line has
    too few zeros. The red line is the median ratio, or the median difference.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.generate`.
    key
        Layer of generated cells; by default the newest post-trained generator, else ``"generator"``.
    conditions
        Conditions, or perturbation labels for all their conditions; all with at least three cells by default.
    ax
        Two axes to draw on; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

    Returns
    -------
    The axes, the figure if `return_fig`, or None if the plot was shown. The numbers are those of
    :func:`scperturbrl.get.calibration`.

    Raises
    ------
    KeyError
        If the layer does not exist.
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
    >>> axes = spr.pl.calibration(adata, key="generator", show=False)
    >>> axes[0].get_xlabel()
    'Real cells'
    """
    key = default_key(pick(adata, modality), key)
    frame = calibration_frame(pick(adata, modality), key=key, conditions=conditions)
    own = ax is None
    with style.house_style():
        axes = style.given_axes(ax, 2) or style.new_axes(2, figsize=figsize or (style.inch(7.4), style.inch(3.9)))
        for panel, (name, title) in zip(axes, _TITLES.items(), strict=True):
            part = frame[frame["quantity"] == name]
            summary = _draw_variance(panel, part) if name == VARIANCE else _draw_zeros(panel, part)
            panel.set(xlabel="Real cells", ylabel="Generated cells", aspect="equal")
            panel.set_title(f"{title}\n{summary}", fontsize="medium")
        if own:
            style.figure_of(axes[0]).suptitle(model_label(key))
    return style.finish(axes, own=own, show=show, return_fig=return_fig)


def _draw_variance(ax: Axes, frame: pd.DataFrame) -> str:
    """Points and median ratio on logarithmic axes; genes without variance cannot be shown."""
    both = frame[["observed", "generated"]].to_numpy()
    both = both[(both > 0).all(1)]
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
    low, high = (both.min() / 1.3, both.max() * 1.3) if len(both) else (0.1, 1.0)
    if np.floor(np.log10(high)) <= np.ceil(np.log10(low)):
        # a single power of ten inside gives no scale
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
    ratio = float(np.median(both[:, 1] / both[:, 0])) if len(both) else float("nan")
    _draw(ax, both, (low, high), lambda x: x * ratio)
    return f"Median ratio {ratio:.2f}"


def _draw_zeros(ax: Axes, frame: pd.DataFrame) -> str:
    both = frame[["observed", "generated"]].to_numpy()
    shift = float(np.median(both[:, 1] - both[:, 0]))
    _draw(ax, both, (-0.03, 1.03), lambda x: x + shift)
    return f"Median difference {shift:+.3f}".replace("-", "\N{MINUS SIGN}")


def _draw(
    ax: Axes, points: np.ndarray, limits: tuple[float, float], typical: Callable[[np.ndarray], np.ndarray]
) -> None:
    size = float(np.clip(4000 / (20 + len(points)), 4, 20))
    ax.scatter(
        points[:, 0],
        points[:, 1],
        s=size,
        color=style.BLUE,
        alpha=0.6,
        linewidths=0,
        rasterized=True,
        zorder=3,
        gid="gene",
    )
    ends = np.array(limits)
    ax.plot(ends, ends, ":", color=style.MIDDLE, linewidth=1.2, zorder=4, gid="identity")
    ax.plot(ends, typical(ends), color=style.VERMILLION, linewidth=1, zorder=5, gid="typical")
    ax.set(xlim=limits, ylim=limits)
