"""Add items to a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    Item = TypeVar("Item")


def add(table: MutableMapping[str, Item], name: str, item: Item, *, what: str, overwrite: bool) -> None:
    """Put `item` into `table` under `name`.

    Parameters
    ----------
    table
        Items by name, changed in place.
    name, item
        The new entry.
    what
        Kind of item with its article, for the error message.
    overwrite
        Replace an item of that name instead of raising an error.

    Raises
    ------
    ValueError
        If the name is taken.

    Examples
    --------
    >>> table = {}
    >>> add(table, "one", 1, what="a number", overwrite=False)
    >>> table
    {'one': 1}
    """
    if name in table and not overwrite:
        msg = f"{what.capitalize()} named {name!r} exists; choose another name, or pass overwrite=True to replace it."
        raise ValueError(msg)
    table[name] = item
