"""Write results to an AnnData: all slots or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

_SLOTS = ("layers", "obs", "obsm", "varm", "uns")
# used instead of a value: the entry is removed, or did not exist
ABSENT: Any = object()


def write(adata: AnnData, **slots: Mapping[str, Any]) -> None:
    """Write entries of ``layers``, ``obs``, ``obsm``, ``varm`` and ``uns`` together.

    Functions compute everything first and call this last. If an entry cannot be written, or the user interrupts,
    previous entries are reverted, so that `adata` is unchanged.

    Parameters
    ----------
    adata
        Annotated data.
    slots
        Entries by the name of their slot. The value :data:`ABSENT` removes an entry.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> from scperturbrl._core.write import write
    >>> adata = spr.datasets.toy()
    >>> try:
    ...     write(adata, uns={"note": "new"}, obs={"reward": [0.5]})
    ... except ValueError:
    ...     "note" in adata.uns
    False
    """
    entries = [(slot, key, value) for slot in _SLOTS for key, value in slots.get(slot, {}).items()]
    undone: list[tuple[str, str, Any]] = []
    columns = list(adata.obs)
    try:
        for slot, key, value in entries:
            undone.append((slot, key, _get(adata, slot, key)))
            _set(adata, slot, key, value)
    except BaseException:
        for slot, key, value in reversed(undone):
            _set(adata, slot, key, value)
        if list(adata.obs) != columns:
            # an entry that was removed is restored at the end
            adata.obs = adata.obs[columns]
        raise


def _get(adata: AnnData, slot: str, key: str) -> Any:
    return getattr(adata, slot).get(key, ABSENT)


def _set(adata: AnnData, slot: str, key: str, value: Any) -> None:
    entries = getattr(adata, slot)
    if value is not ABSENT:
        entries[key] = value
    elif key in entries:
        del entries[key]
