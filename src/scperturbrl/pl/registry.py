"""Plots that others add to those of this room, by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Plot:
    """A plot that is added to :mod:`scperturbrl.pl` and to the pictures of :func:`scperturbrl.pl.report`.

    Attributes
    ----------
    name
        The plot is then ``scperturbrl.pl.<name>``.
    draw
        ``draw(adata, *, key=None, show=None, return_fig=False, ...)``: `key` is a model, `return_fig` asks for the
        figure. A ``KeyError`` or ``ValueError`` says that `adata` lacks what the plot shows.
    title, caption
        What stands above and below it in a report.
    """

    name: str
    draw: Callable[..., Any]
    title: str
    caption: str = ""


_ADDED: dict[str, Plot] = {}

ADDED: Mapping[str, Plot] = MappingProxyType(_ADDED)
"""Plots beyond those of the package, by name."""


def register(plot: Plot, *, overwrite: bool = False) -> Plot:
    """Add a plot to :mod:`scperturbrl.pl` and to the pictures of a report.

    Parameters
    ----------
    plot
        Its name, function, title and caption.
    overwrite
        Replace an added plot of the same name instead of refusing.

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
