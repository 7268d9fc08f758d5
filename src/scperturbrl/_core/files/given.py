"""Files and folders that a user names on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


def read_given(path: Path) -> AnnData:
    """Read an h5ad file.

    Raises
    ------
    SystemExit
        If there is no such file, or it is no h5ad file.
    """
    import anndata as ad

    if not path.is_file():
        msg = f"There is no file {path}."
        raise SystemExit(msg)
    try:
        return ad.read_h5ad(path)
    except OSError as error:
        msg = f"{path} cannot be read as an h5ad file ({error}). Write it with `adata.write_h5ad`."
        raise SystemExit(msg) from None


def make_folder(path: Path) -> None:
    """Make a folder, unless it exists.

    Raises
    ------
    SystemExit
        If there is a file of that name.
    """
    if path.exists() and not path.is_dir():
        msg = f"{path} is a file. Name a folder in --out."
        raise SystemExit(msg)
    path.mkdir(parents=True, exist_ok=True)
