"""Tables that runs keep, so that they can go on where they stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def keep(table: pd.DataFrame, file: Path) -> None:
    """Write `table` as CSV, with six digits, in one go: an interrupted run leaves no half of a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    table.to_csv(temporary, index=False, float_format="%.6g")
    temporary.replace(file)
