"""The error for damaged or invalid files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


class DamagedFileError(ValueError):
    """A file read by this package is truncated, edited or otherwise invalid.

    Parameters
    ----------
    path
        The file.
    field
        The wrong part of it, such as ``"space.architecture"`` or the name of a weight; ``""`` for the file as a whole.
    what
        What is wrong with it.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> error = spr.tl.DamagedFileError("model/config.json", "space.genes", "it is absent")
    >>> str(error), error.path.name, error.field
    ("model/config.json is damaged, edited or of another version: field 'space.genes': it is absent", 'config.json', 'space.genes')
    """

    def __init__(self, path: str | os.PathLike[str], field: str, what: str) -> None:
        self.path, self.field = Path(path), field
        where = f"field {field!r}: " if field else ""
        super().__init__(f"{path} is damaged, edited or of another version: {where}{what}")
