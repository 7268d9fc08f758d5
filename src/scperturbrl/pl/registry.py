"""Registry of additional plots, by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Plot:
    """An additional plot of :mod:`scperturbrl.pl` and :func:`scperturbrl.pl.report`.

    Attributes
    ----------
    name
        The plot is then ``scperturbrl.pl.<name>``.
    draw
        ``draw(adata, *, key=None, show=None, return_fig=False, ...)``: `key` is a model, with `return_fig` the figure
        is returned. Raise ``KeyError`` or ``ValueError`` if `adata` lacks the data of the plot.
    title, caption
        Title and caption of the plot in a report.
    """

    name: str
    draw: Callable[..., Any]
    title: str
    caption: str = ""


_ADDED: dict[str, Plot] = {}

ADDED: Mapping[str, Plot] = MappingProxyType(_ADDED)
"""Plots added by users or other packages, by name."""


def register(plot: Plot, *, overwrite: bool = False) -> Plot:
    """Add a plot to :mod:`scperturbrl.pl` and to reports.

    Parameters
    ----------
    plot
        The plot.
    overwrite
        Replace an added plot of the same name instead of raising an error.

    Returns
    -------
    `plot`, unchanged.

    Raises
    ------
    ValueError
        If the name is taken.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> def cell_counts(adata, *, key=None, show=None, return_fig=False):
    ...     ax = adata.obs["perturbation"].value_counts().plot.barh()
    ...     return ax.figure if return_fig else ax
    >>> _ = register(Plot("cell_counts", cell_counts, "Cells of each perturbation"), overwrite=True)
    >>> spr.pl.cell_counts(spr.datasets.toy()).get_ylabel()
    'perturbation'
    """
    room = importlib.import_module("scperturbrl.pl")
    taken = plot.name in dir(room) and plot.name not in _ADDED
    if taken or (plot.name in _ADDED and not overwrite):
        msg = f"A plot named {plot.name!r} exists; choose another name."
        raise ValueError(msg)
    _ADDED[plot.name] = plot
    setattr(room, plot.name, plot.draw)
    return plot
