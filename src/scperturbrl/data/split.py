"""Which conditions are learnt from, watched, or kept for the test."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core import keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class SplitManifest:
    """Names of the train, validation and test conditions, how they were chosen, and a hash of all that."""

    holdout: str
    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Hash over the three lists; equal for equal splits."""
        content = json.dumps([sorted(self.train), sorted(self.validation), sorted(self.test)])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def labels(self, conditions: pd.Index) -> np.ndarray:
        """Split label of each condition name."""
        of = dict.fromkeys(self.train, keys.TRAIN)
        of |= dict.fromkeys(self.validation, keys.VALIDATION) | dict.fromkeys(self.test, keys.TEST)
        return np.array([of[name] for name in conditions])

    def to_uns(self) -> dict[str, Any]:
        """Return plain values that AnnData can write."""
        lists = {name: np.array(getattr(self, name), dtype=str) for name in ("train", "validation", "test")}
        return {"holdout": self.holdout, "seed": self.seed, "hash": self.hash, **lists}


def split_labels(adata: AnnData) -> np.ndarray:
    """Return ``obs["split"]`` as strings.

    Raises
    ------
    ValueError
        If the column is absent or holds anything but train, validation and test.
    """
    if keys.SPLIT not in adata.obs:
        msg = f"`obs` has no column {keys.SPLIT!r}. Call `scperturbrl.pp.split(adata)` first."
        raise ValueError(msg)
    labels = adata.obs[keys.SPLIT].astype(str).to_numpy()
    strange = set(labels) - {keys.TRAIN, keys.VALIDATION, keys.TEST}
    if strange:
        msg = f"`obs[{keys.SPLIT!r}]` holds {sorted(strange)}; only 'train', 'validation' and 'test' are understood."
        raise ValueError(msg)
    return labels
