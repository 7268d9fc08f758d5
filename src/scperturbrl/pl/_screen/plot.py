"""Plots of the candidates of a screen: a ranking of the best, or a heatmap of all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_choice, check_positive
from scperturbrl.data.cells.conditions import parse_perturbation
from scperturbrl.data.cells.setup import Setup
from scperturbrl.get._screen import screen as screen_frame
from scperturbrl.pl._draw.style import figure_of, finish, given_axes, house_style, inch, new_axes, outside_legend
from scperturbrl.pl._screen.pairs import draw_pairs, pair_matrix
from scperturbrl.pl._screen.ranked import draw_ranked, legend_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


@documented
def screen(
    adata: AnnData | MuData,
    *,
    kind: str = "ranked",
    n: int = 20,
    measured: bool = True,
    group: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
    modality: str | None = None,
) -> Axes | list[Axes] | Figure | None:
    """Plot the candidates of a screen.

    ``"ranked"``: the best candidates in order. A dot is the predicted :term:`objective`, and a bar the
    :term:`cross-conformal interval`. The colour shows the :term:`support` of the prediction. Squares are measured
    candidates, and hollow dots candidates without generated cells. Ticks are the predictions of simple rules. The number
    on the right is the probability of being among the best.

    ``"pairs"``: a heatmap of the objective of all pairs of the perturbations in the best pairs. Measured pairs have a dot.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.screen`.
    kind
        ``"ranked"`` or ``"pairs"``.
    n
        Candidates, or perturbations of the heatmap.
    measured
        Whether to list candidates with training cells as well.
    group
        Context to show. By default, the list has all contexts, and the heatmap the first.
    ax
        Axes to draw on; a new figure by default.
    figsize
        Size of the new figure in inches.
    {figure}
    {modality}

    Returns
    -------
    The axes, the figure if `return_fig`, or None if the plot was shown. The numbers are those of
    :func:`scperturbrl.get.screen`.

    Raises
    ------
    KeyError
        If `adata` has no screen.
    ValueError
        If the context was not screened, or nothing is left to draw.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_perturbseq(n_genes=60, n_singles=8, n_doubles=20, n_cells_per_condition=30)
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.screen(adata, "pairs", objective="size")
    >>> spr.pl.screen(adata, show=False).get_xlabel()
    'Objective: size'
    """
    check_choice("kind", kind, ["ranked", "pairs"])
    check_positive(n=n)
    found = pick(adata, modality)
    frame, own = _chosen(screen_frame(found, measured=measured), group), ax is None
    params = found.uns[keys.SCREEN]["params"]
    label = _label(params)
    with house_style():
        if kind == "ranked":
            frame = frame.head(n)
            size = figsize or (inch(7.6), inch(1.6 + 0.24 * len(frame)))
            panel = (given_axes(ax, 1) or new_axes(1, figsize=size))[0]
            draw_ranked(panel, frame, int(params["top"]))
            panel.set_xlabel(f"Objective: {label}")
            if own:
                outside_legend(figure_of(panel), legend_of(frame))
        else:
            setup = Setup.of(found)
            parsed = [
                parse_perturbation(str(label), control=setup.control, sep=setup.perturbation_sep)
                for label in frame["perturbation"]
            ]
            matrix, known = pair_matrix(frame, parsed, n, group)
            side = inch(2.2 + 0.2 * len(matrix))
            panel = (given_axes(ax, 1) or new_axes(1, figsize=figsize or (side + inch(0.6), side)))[0]
            draw_pairs(panel, matrix, known, label)
    return finish([panel], own=own, show=show, return_fig=return_fig)


def _chosen(frame: pd.DataFrame, group: str | None) -> pd.DataFrame:
    groups = frame["group"].astype(str)
    if group is not None and group not in set(groups):
        msg = f"`group` is {group!r}, which was not screened; contexts are {sorted(set(groups))[:10]}."
        raise ValueError(msg)
    frame = frame[frame["value"].notna() & ((groups == group) | (group is None))]
    if not len(frame):
        msg = "There is nothing to draw: no candidate has a value. Screen again with other candidates."
        raise ValueError(msg)
    return frame


def _label(params: dict[str, dict[str, float]]) -> str:
    """The terms of the objective with their weights; a weight of 1 is not shown."""
    words: list[str] = []
    for name, weight in params["objective"].items():
        number = "" if abs(weight) == 1 else f"{abs(weight):g} "
        sign = "\N{MINUS SIGN}" if weight < 0 else "+ " if words else ""
        words.append(f"{sign}{number}{name}")
    return " ".join(words)
