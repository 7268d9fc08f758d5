"""Tables that runs keep, so that they can go on where they stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def keep(table: pd.DataFrame, file: Path) -> None:
    """Write `table` as CSV, with six digits, in one go: an interrupted run leaves no half of a file.

    A name that ends in ``.gz`` is compressed, without the time of writing, so that equal tables are equal files.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    compression: Any = {"method": "gzip", "mtime": 0} if file.suffix == ".gz" else None
    table.to_csv(temporary, index=False, float_format="%.6g", compression=compression)
    temporary.replace(file)
