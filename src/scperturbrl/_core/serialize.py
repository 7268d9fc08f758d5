"""Values in a form that h5ad and zarr files can hold."""

from __future__ import annotations

import enum
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

_WRITABLE = (bool, int, float, np.generic, np.ndarray, pd.DataFrame)
_RECORDED = ("scperturbrl", "anndata", "numpy", "torch")


def to_uns(value: Any) -> Any:
    """Return `value` made of what AnnData can write in ``uns``: plain values, lists, arrays and string-keyed dicts.

    A list that is not an array (of lists, or of numbers and texts) becomes a dict with positions as keys. Anything that
    cannot be written is replaced by its ``repr``, so that a user's file can always be written.

    Examples
    --------
    >>> to_uns({"path": Path("a"), "shape": (1, 2)})
    {'path': 'a', 'shape': [1, 2]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return to_uns(asdict(value))
    if isinstance(value, dict):
        return {_key(key): to_uns(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return to_uns(sorted(value, key=repr))
    if isinstance(value, (tuple, list)):
        items = [to_uns(item) for item in value]
        return items if _is_array(items) else {str(i): x for i, x in enumerate(items)}
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, enum.Enum):
        return to_uns(value.value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "biufU":
        return to_uns(value.tolist() if value.dtype.kind == "O" else value.astype(str))
    if isinstance(value, (Path, torch.device, np.dtype)):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value if value is None or isinstance(value, _WRITABLE) else _text(repr(value))


def _is_array(items: list[Any]) -> bool:
    """Whether the items are all texts, all booleans or all numbers, so that no item changes its type in an array."""
    kinds = {
        np.asarray(item).dtype.kind if isinstance(item, (str, bool, int, float, np.generic)) else "O" for item in items
    }
    return len(kinds) < 2 and "O" not in kinds or kinds <= set("if")


def _key(key: Any) -> str:
    """Name of a slot: a slash (in zarr a backslash too) would become a group, and neither "" nor "." can be one."""
    name = _text(str(key)).replace("/", "∕").replace("\\", "∖")
    return f"_{name}" if name.strip(".") == "" else name


def _text(value: str) -> str:
    """Text as UTF-8 files can hold it: no lone surrogates, no NUL."""
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def versions() -> dict[str, str]:
    """Versions of the packages on which numbers depend."""
    return {name: version(name) for name in _RECORDED}
