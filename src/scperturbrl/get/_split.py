"""The split as an object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.data.split.manifest import read_split

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.data.split.manifest import SplitManifest


@documented
def split_manifest(adata: AnnData | MuData, *, modality: str | None = None) -> SplitManifest:
    """Get the split of `adata`, to save it as JSON, compare its hash or apply it to other data.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.split`.
    {modality}

    Returns
    -------
    The manifest.

    Raises
    ------
    ValueError
        If `adata` is not split.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.get.split_manifest(adata).holdout.startswith("combinations: ")
    True
    """
    adata = pick(adata, modality)
    return read_split(adata)
