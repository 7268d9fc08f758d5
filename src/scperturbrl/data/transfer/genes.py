"""Genes of a generator found by name among those of another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.generator.stored import StoredGenerator


class GeneMatch(NamedTuple):
    """Positions of the genes of a generator in another data set.

    Attributes
    ----------
    place
        ``(G,)`` column of each gene of the generator in the other data set, -1 if it is missing.
    missing
        Names of those genes.
    share
        Share of the genes that were found.
    signal
        Share of the generator's input from these genes, by squared loadings of its components.
    """

    place: np.ndarray
    missing: list[str]
    share: float
    signal: float


def match_genes(stored: StoredGenerator, names: Sequence[str] | pd.Index, *, least: float) -> GeneMatch:
    """Find the genes of a generator by name.

    Parameters
    ----------
    stored
        Generator.
    names
        Genes of the other data set.
    least
        Smallest share of the generator's genes that must be found.

    Raises
    ------
    ValueError
        If names are repeated, or too few genes are found; the message says if names differ only in spelling.
    """
    found = pd.Index(names).astype(str)
    if not found.is_unique:
        msg = f"The gene names of `adata` are not unique ({found[found.duplicated()][0]!r} occurs twice). Call `adata.var_names_make_unique()`."
        raise ValueError(msg)
    place = found.get_indexer(stored.genes)
    present = place >= 0
    share = float(present.mean())
    if share < least:
        msg = (
            f"`adata` has {int(present.sum())} of the {len(present)} genes of the generator ({share:.0%}); at least {least:.0%} are needed (`min_genes`)."
            f"{_spelling(stored.genes, found)}"
        )
        raise ValueError(msg)
    loadings = np.square(stored.generator.space.components.detach().cpu().numpy()).sum(1)
    signal = float(loadings[present].sum() / max(float(loadings.sum()), 1e-12))
    missing = [gene for gene, here in zip(stored.genes, present, strict=True) if not here]
    return GeneMatch(place, missing, share, signal)


def _spelling(wanted: Sequence[str], found: pd.Index) -> str:
    """A change of names that would match more genes, if there is one."""
    ways = {
        "in upper case": lambda name: name.upper(),
        "without the suffix after a dot": lambda name: name.split(".")[0],
    }
    same = set(wanted) & set(found)
    for text, change in ways.items():
        if len({change(name) for name in wanted} & {change(name) for name in found}) > len(same) + len(wanted) / 10:
            return (
                f" More names match {text}: rename `adata.var_names` to those of the generator, such as {wanted[0]!r}."
            )
    return f" The generator's are named like {wanted[0]!r}, those of `adata` like {found[0]!r}."
