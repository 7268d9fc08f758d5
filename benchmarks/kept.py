"""Tables of measurements, from which runs are resumed: one compressed CSV for each suite."""

from __future__ import annotations

import fcntl
import gzip
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def table_file(out: Path, name: str) -> Path:
    """File of the table `name`."""
    return out / f"{name}.csv.gz"


def read(file: Path) -> pd.DataFrame:
    """The table in `file`; empty if there is none. Only empty fields are missing values, so that ``NA`` may be a name."""
    if not file.exists():
        return pd.DataFrame()
    return pd.read_csv(file, keep_default_na=False, na_values=[""])


def has(table: pd.DataFrame, **cell: object) -> bool:
    """Whether the table has a row with these values."""
    if table.empty:
        return False
    return bool(pd.concat([table[name] == value for name, value in cell.items()], axis=1).all(axis=1).any())


def keep(table: pd.DataFrame, file: Path) -> None:
    """Write `table` as CSV with six digits, atomically, so that an interrupted run leaves no partial file.

    A name that ends in ``.gz`` is compressed, without name and time, so that equal tables are equal files.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    text = table.to_csv(index=False, float_format="%.6g").encode()
    temporary.write_bytes(gzip.compress(text, mtime=0) if file.suffix == ".gz" else text)
    temporary.replace(file)


def add(rows: pd.DataFrame, file: Path, *, keys: Sequence[str]) -> None:
    """Add `rows` to the table in `file`, replacing rows with the same `keys`; the table is sorted by these.

    Concurrent runs that write to the same table wait for each other.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _locked(file.parent):
        found = read(file)
        if len(found):
            new = pd.MultiIndex.from_frame(rows[list(keys)])
            found = found[~pd.MultiIndex.from_frame(found[list(keys)]).isin(new)]
        parts = [part for part in (found, rows) if len(part)]
        keep(pd.concat(parts, ignore_index=True).sort_values(list(keys), kind="stable"), file)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, which is released at the latest when the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
