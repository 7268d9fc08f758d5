"""Pathway networks: a named resource, or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.validate import check_choice
from scperturbrl._core.write import write
from scperturbrl.data.cells.network import check_network, warn_other_case

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@documented
def pathway_network(
    adata: AnnData | MuData,
    network: str | pd.DataFrame = "progeny",
    *,
    organism: str = "human",
    min_targets: int = 5,
    key_added: str = keys.PATHWAY_NETWORK,
    modality: str | None = None,
) -> pd.DataFrame:
    """Restrict a pathway or transcription-factor network to the genes of the data, and store it.

    Parameters
    ----------
    adata
        Annotated data; its ``var_names`` are matched with the targets.
    network
        ``"progeny"``, ``"hallmark"`` or ``"collectri"``, loaded by decoupler (``decoupler.op``, needs the internet
        once), or a table with columns ``source``, ``target`` and optionally ``weight``.
    organism
        Organism of a named resource.
    min_targets
        Sets with fewer targets among the genes are left out, because a correlation over two or three genes is not
        reliable.
    key_added
        Slot in ``uns``. :func:`~scperturbrl.verifiers.tf_activity` reads regulons from ``"tf_network"``.
    {modality}

    Returns
    -------
    Table with one row for each set: index ``source``, columns ``n_targets`` (all), ``n_in_data`` and ``kept``. Writes
    the kept rows of the network to ``uns[key_added]`` (columns source, target, weight).

    Raises
    ------
    ValueError
        If `network` is an unknown name, or if no set has `min_targets` targets in the data.
    ConnectionError
        If a named resource could not be loaded.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> sets = spr.pp.pathway_network(adata, adata.uns["pathway_network"])
    >>> bool(sets["kept"].all())
    True
    """
    adata = pick(adata, modality)
    started = log.start("fitting the pathway network to the genes")
    kept, sets = fit_network(adata.var_names, network, organism=organism, min_targets=min_targets)
    write(adata, uns={key_added: kept})
    log.finish(started, [f"uns[{key_added!r}]"])
    return sets


def fit_network(
    genes: pd.Index, network: str | pd.DataFrame, *, organism: str = "human", min_targets: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a network to store and the table of its sets; see :func:`pathway_network`. Writes nothing."""
    table = check_network(_load(network, organism) if isinstance(network, str) else network)
    inside = table[table["target"].isin(genes) & (table["weight"] != 0)]
    warn_other_case(table, genes)
    sets = table.groupby("source").size().rename("n_targets").to_frame()
    sets["n_in_data"] = inside.groupby("source").size().reindex(sets.index, fill_value=0)
    sets["kept"] = sets["n_in_data"] >= min_targets
    if not sets["kept"].any():
        best = sets["n_in_data"].idxmax()
        msg = (
            f"No set of the network has {min_targets} targets among the {len(genes)} genes (most: {best!r} with "
            f"{sets.loc[best, 'n_in_data']}). Check that `var_names` are gene symbols, or use a larger network."
        )
        raise ValueError(msg)
    if not sets["kept"].all():
        dropped = [f"{name} ({n})" for name, n in sets.loc[~sets["kept"], "n_in_data"].items()]
        shown = ", ".join(dropped[:3]) + (f" and {len(dropped) - 3} more" if len(dropped) > 3 else "")
        log.warn(
            f"Left out {len(dropped)} of {len(sets)} sets with fewer than {min_targets} targets in the data: {shown}."
        )
    kept = sets.index[sets["kept"]]
    log.note(f"    {len(kept)} sets, {int(sets.loc[kept, 'n_in_data'].median())} targets each (median)")
    return inside[inside["source"].isin(kept)].reset_index(drop=True), sets.sort_values("n_in_data", ascending=False)


def _load(name: str, organism: str) -> pd.DataFrame:
    check_choice("network", name, ["progeny", "hallmark", "collectri"])
    import decoupler as dc

    loaders = {"progeny": lambda: dc.op.progeny(organism=organism, top=100)}
    loaders |= {"hallmark": lambda: dc.op.hallmark(organism=organism)}
    loaders |= {"collectri": lambda: dc.op.collectri(organism=organism)}
    try:
        return pd.DataFrame(loaders[name]())
    except (OSError, ValueError, RuntimeError) as error:
        msg = (
            f"decoupler could not load {name!r} ({error}). Without internet, pass a table with source, target and "
            "weight, or leave `network` out."
        )
        raise ConnectionError(msg) from None
