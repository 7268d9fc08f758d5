"""A result of ``uns`` as a directory: weights in safetensors, tables in CSV, the rest in JSON."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scperturbrl._core.files.damage import DamagedFileError
from scperturbrl._core.files.run_file import sync_directory

SCHEMA = 1
_TABLES = ("history", "conditions")
CONFIG, WEIGHTS, _SUMS = "config.json", "model.safetensors", "sha256sums.txt"
_LONGEST_HEADER = 100_000_000
_FILES = (CONFIG, WEIGHTS, *(f"{name}.csv" for name in _TABLES), _SUMS)


def write_directory(path: str | os.PathLike[str], record: dict[str, Any], *, overwrite: bool) -> None:
    """Write `record` (``weights``, ``history``, ``conditions`` and plain values) to the directory `path`.

    Files are written and synced in a temporary directory beside `path`, which is then renamed. An existing directory is
    moved aside first, and moved back if anything fails.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is false, or if it is not a saved generator or an empty directory.
    """
    target = Path(path)
    _check_target(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    folder, old = (target.parent / f".{target.name}-{token}-{what}" for what in ("new", "old"))
    folder.mkdir()
    try:
        _write_files(folder, record)
        if target.exists():
            target.rename(old)
        try:
            folder.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def read_directory(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write_directory` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such directory, or a file of it is missing.
    DamagedFileError
        If a file is damaged or has an unknown schema; the message names the file and, if possible, the field.
    """
    folder = Path(path)
    for name in _FILES:
        if not (folder / name).is_file():
            msg = f"{folder} has no file {name}; it is not a saved generator."
            raise FileNotFoundError(msg)
    _check_header(folder / WEIGHTS)
    content = {name: (folder / name).read_bytes() for name in _FILES}
    try:
        config = json.loads(content[CONFIG])
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(folder / CONFIG, "", f"it is not JSON ({error})") from error
    # before the checksums, because another schema may have other files
    schema = config.get("schema") if isinstance(config, dict) else None
    if schema != SCHEMA:
        what = f"it has schema {schema!r}; this version reads schema {SCHEMA}"
        raise DamagedFileError(folder / CONFIG, "schema", what)
    _check_sums(folder, content)
    return _read_files(folder, content[WEIGHTS], config)


def _check_sums(folder: Path, content: dict[str, bytes]) -> None:
    found = content.pop(_SUMS)
    if found == _checksums(content):
        return
    told = set(found.splitlines())
    wrong = [line for line in _checksums(content).splitlines() if line not in told]
    name = wrong[0].decode().split("  ", 1)[1] if wrong else _SUMS
    raise DamagedFileError(folder / name, "", f"its checksum is not the one in {_SUMS}")


def _check_header(path: Path) -> None:
    """Raise unless the weights are as long as their header says, before they are read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if 8 + length <= min(size, _LONGEST_HEADER) else b""
    try:
        ends = [int(entry["data_offsets"][1]) for name, entry in json.loads(header).items() if name != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        whole = -1
    if whole != size:
        raise DamagedFileError(path, "header", f"it does not fit the {size:,} bytes of the file")


def _check_target(target: Path, *, overwrite: bool) -> None:
    if not target.exists():
        return
    if not overwrite:
        msg = f"{target} exists. Choose another path, or pass `overwrite=True`."
        raise FileExistsError(msg)
    # a user may pass the folder with all results by mistake; it must not be overwritten
    strange = sorted({item.name for item in target.iterdir()} - set(_FILES)) if target.is_dir() else [target.name]
    if strange:
        msg = f"{target} contains more than a saved generator ({strange[:3]}) and is not replaced. Choose another path."
        raise FileExistsError(msg)


def _write_files(folder: Path, record: dict[str, Any]) -> None:
    from safetensors.numpy import save

    weights = {name: np.asarray(value, order="C") for name, value in record["weights"].items()}
    (folder / WEIGHTS).write_bytes(save(weights))
    for name in _TABLES:
        record[name].to_csv(folder / f"{name}.csv")
    config = {name: value for name, value in record.items() if name not in {"weights", *_TABLES}}
    dtypes = {name: {str(column): str(dtype) for column, dtype in record[name].dtypes.items()} for name in _TABLES}
    text = json.dumps({"schema": SCHEMA, "dtypes": dtypes, **_to_json(config)}, indent=1)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    (folder / _SUMS).write_bytes(_checksums({name: (folder / name).read_bytes() for name in _FILES if name != _SUMS}))
    for file in folder.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _read_files(folder: Path, weights: bytes, config: dict[str, Any]) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(weights)
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(folder / WEIGHTS, "", f"its weights cannot be read ({error})") from error
    found: dict[str, Any] = {"weights": arrays}
    for name, value in config.items():
        if name not in {"schema", "dtypes"}:
            try:
                found[name] = _from_json(value)
            except (LookupError, TypeError, ValueError) as error:
                raise DamagedFileError(folder / CONFIG, name, _said(error)) from error
    for name in _TABLES:
        dtypes = config.get("dtypes")
        own = dtypes.get(name) if isinstance(dtypes, dict) else None
        if not isinstance(own, dict):
            raise DamagedFileError(folder / CONFIG, f"dtypes.{name}", "it should hold the type of every column")
        found[name] = _read_table(folder / f"{name}.csv", own)
    return found


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}"


def _checksums(content: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in sorted(content)).encode()


def _read_table(path: Path, dtypes: dict[str, str]) -> pd.DataFrame:
    # not by pandas' reader, which would read a gene or cell type named "NA" as missing and "1" as a number
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            (index_name, *columns), *rows = csv.reader(handle)
        index = pd.Index([row[0] for row in rows] or np.array([], dtype=object), name=index_name or None)
        texts = {column: [row[i + 1] for row in rows] for i, column in enumerate(columns)}
    except (csv.Error, ValueError, LookupError) as error:
        raise DamagedFileError(path, "", f"it is not a table ({error})") from error
    found: dict[str, pd.Series] = {}
    for name, own in texts.items():
        try:
            found[name] = _parsed(own, dtypes[name], index)
        except (LookupError, TypeError, ValueError, OverflowError, NotImplementedError) as error:
            raise DamagedFileError(
                path, name, f"its values are not of the type in {CONFIG} ({_said(error)})"
            ) from error
    return pd.DataFrame(found, index=index)


def _parsed(texts: list[str], dtype: str, index: pd.Index) -> pd.Series:
    kind = pd.api.types.pandas_dtype(dtype).kind
    if kind == "f":
        return pd.Series([float(text or "nan") for text in texts], index, dtype=dtype)
    if kind == "b":
        return pd.Series([text == "True" for text in texts], index, dtype=dtype)
    return pd.Series([int(text) for text in texts] if kind in "iu" else texts, index, dtype=dtype)


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, pd.DataFrame):
        index, columns = list(map(str, value.index)), list(map(str, value.columns))
        return {"__table__": {"index": index, "columns": columns, "values": value.to_numpy(float).tolist()}}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and "__table__" in value:
        table = value["__table__"]
        shape = len(table["index"]), len(table["columns"])
        return pd.DataFrame(np.array(table["values"]).reshape(shape), index=table["index"], columns=table["columns"])
    if isinstance(value, dict):
        return {name: _from_json(item) for name, item in value.items()}
    return np.array(value) if isinstance(value, list) else value
