"""Colours of categories, shared with scanpy through ``uns["<column>_colors"]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.colors import is_color_like, to_hex

from scperturbrl.pl._draw.style import MIDDLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

FROM_OBS = "obs"


def group_colors(
    adata: AnnData,
    column: str,
    groups: Sequence[str],
    palette: str | Sequence[str] | Mapping[str, str] | None,
    *,
    default: str | None = None,
) -> dict[str, str]:
    """Colour of each group.

    Parameters
    ----------
    adata
        Annotated data whose ``uns`` may hold colours.
    column
        Column of ``obs`` that the groups come from.
    groups
        Groups, in order.
    palette
        One colour, a list, a mapping, ``"obs"`` for the colours of the column, or None for the default.
    default
        The one colour to use if there is no palette; the colours of the column if None.

    Raises
    ------
    ValueError
        If a colour is invalid, or a group has no colour.
    """
    if palette is None and default is not None:
        palette = default
    if palette is None or palette == FROM_OBS:
        return {group: category_colors(adata, column)[group] for group in groups}
    if isinstance(palette, str):
        found = dict.fromkeys(groups, palette)
    elif isinstance(palette, Mapping):
        found = {group: palette.get(group, "") for group in groups}
    else:
        found = {group: palette[i % len(palette)] for i, group in enumerate(groups)}
    for group, color in found.items():
        if not is_color_like(color):
            msg = f"`palette` gives {color!r} for {group!r}, which is not a colour."
            raise ValueError(msg)
    return {group: to_hex(color, keep_alpha=True) for group, color in found.items()}


def category_colors(adata: AnnData, column: str) -> dict[str, str]:
    """Colours of a column's categories as stored by scanpy; created and stored if missing."""
    values = adata.obs[column]
    categorical = isinstance(values.dtype, pd.CategoricalDtype)
    names = [str(name) for name in (values.cat.categories if categorical else sorted(values.astype(str).unique()))]
    slot = f"{column}_colors"
    stored = [str(color) for color in adata.uns.get(slot, [])]
    if len(stored) >= len(names) and all(map(is_color_like, stored)):
        return dict(zip(names, stored, strict=False))
    colors = _default_colors(len(names))
    # only for categorical columns, as in scanpy, and without copying a view
    if categorical and not adata.is_view:
        adata.uns[slot] = colors
    return dict(zip(names, colors, strict=True))


def _default_colors(count: int) -> list[str]:
    from scanpy.plotting import palettes

    for colors in (palettes.default_20, palettes.default_28, palettes.default_102):
        if count <= len(colors):
            return [to_hex(color) for color in colors[:count]]
    return [to_hex(MIDDLE)] * count
