"""A result of ``uns`` as a directory: weights in safetensors, tables in CSV, the rest in JSON."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SCHEMA = 1
_FILES = {"weights": "model.safetensors", "history": "history.csv", "conditions": "conditions.csv"}


def write_directory(path: str | os.PathLike[str], record: dict[str, Any], *, overwrite: bool) -> None:
    """Write `record` (``weights``, ``history``, ``conditions`` and plain values) to the directory `path`.

    Files are written and synced in a temporary directory beside `path`, which is then renamed.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is false.
    """
    from safetensors.numpy import save_file

    target = Path(path)
    if target.exists() and not overwrite:
        msg = f"{target} exists. Choose another path, or pass `overwrite=True`."
        raise FileExistsError(msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        save_file(
            {name: np.asarray(value, order="C") for name, value in record["weights"].items()},
            folder / _FILES["weights"],
        )
        for name in ("history", "conditions"):
            record[name].to_csv(folder / _FILES[name])
        config = {name: value for name, value in record.items() if name not in _FILES}
        (folder / "config.json").write_text(
            json.dumps({"schema": SCHEMA, **_to_json(config)}, indent=1), encoding="utf-8"
        )
        for file in folder.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read_directory(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write_directory` wrote.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged or of an unknown schema.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = Path(path)
    for name in ("config.json", *_FILES.values()):
        if not (folder / name).is_file():
            msg = f"{folder} has no file {name}; it is not a saved generator."
            raise FileNotFoundError(msg)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load((folder / _FILES["weights"]).read_bytes())
        tables = {name: _read_table(folder / _FILES[name]) for name in ("history", "conditions")}
    except (ValueError, SafetensorError) as error:
        msg = f"A file of {folder} is damaged: {error}"
        raise ValueError(msg) from error
    if config.get("schema") != SCHEMA:
        msg = f"{folder} has schema {config.get('schema')!r}; this version reads schema {SCHEMA}."
        raise ValueError(msg)
    return {
        **{name: _from_json(value) for name, value in config.items() if name != "schema"},
        "weights": weights,
        **tables,
    }


def _read_table(path: Path) -> pd.DataFrame:
    table = pd.read_csv(io.BytesIO(path.read_bytes()), index_col=0)
    table.index = table.index.astype(str)
    return table


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, pd.DataFrame):
        return {"__table__": {"index": list(map(str, value.index)), "values": value.to_numpy(float).tolist()}}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and "__table__" in value:
        return pd.DataFrame(np.array(value["__table__"]["values"]), index=value["__table__"]["index"])
    if isinstance(value, dict):
        return {name: _from_json(item) for name, item in value.items()}
    return np.array(value) if isinstance(value, list) else value
