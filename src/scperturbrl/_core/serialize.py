"""Values in a form that h5ad and zarr files can hold."""

from __future__ import annotations

import enum
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

_RECORDED = ("scperturbrl", "anndata", "numpy", "torch")


def to_uns(value: Any) -> Any:
    """Return `value` made of what AnnData can write in ``uns``: plain values, lists, arrays and string-keyed dicts.

    Examples
    --------
    >>> to_uns({"path": Path("a"), "shape": (1, 2)})
    {'path': 'a', 'shape': [1, 2]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return to_uns(asdict(value))
    if isinstance(value, dict):
        return {str(key).replace("/", "∕"): to_uns(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        items = [to_uns(item) for item in value]
        return (
            items
            if not any(isinstance(item, (dict, list)) for item in items)
            else {str(i): x for i, x in enumerate(items)}
        )
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, enum.Enum):
        return to_uns(value.value)
    if isinstance(value, (Path, torch.device, np.dtype)):
        return str(value)
    return value


def versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    return {name: version(name) for name in _RECORDED}
