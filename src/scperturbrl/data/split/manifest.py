"""The record of a split of conditions into training, validation and test."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.write import write
from scperturbrl.data.cells.checks import check_not_doubled
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.split.copies import warn_copies
from scperturbrl.data.split.predictable import at_other_doses, shortened, without_relatives

if TYPE_CHECKING:
    from os import PathLike

    from anndata import AnnData

_LABELS = (keys.TRAIN, keys.VALIDATION, keys.TEST)
_FORMAT = 1


@dataclass(frozen=True)
class SplitManifest:
    """Conditions for training, validation and test, how they were chosen, and a hash.

    Attributes
    ----------
    holdout
        Description of what was held out.
    seed
        Seed of the draw.
    train, validation, test
        Names of the conditions.

    Examples
    --------
    >>> from scperturbrl.pp import SplitManifest
    >>> manifest = SplitManifest("by hand", 0, train=("control", "A", "B"), validation=(), test=("A+B",))
    >>> len(manifest.hash), manifest.hash == SplitManifest("x", 9, ("B", "A", "control"), (), ("A+B",)).hash
    (16, True)
    """

    holdout: str
    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def of(cls, labels: pd.Series, table: pd.DataFrame, *, described: str, seed: int) -> SplitManifest:
        """Build it from the label of every condition of `table`.

        Raises
        ------
        ValueError
            If no perturbed condition is left for training.
        """
        if not ((labels == keys.TRAIN) & ~table["is_control"]).any():
            msg = (
                f"Holding out {described} leaves no perturbed condition for training. Lower `fraction`, name fewer "
                '`values`, or hold out something else: `holdout="perturbations"`, or a covariate such as a cell type '
                "or donor."
            )
            raise ValueError(msg)
        parts = {label: tuple(labels.index[labels == label]) for label in _LABELS}
        return cls(holdout=described, seed=seed, **parts)

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
        lists = {name: np.array(getattr(self, name), dtype=str) for name in _LABELS}
        return {"holdout": self.holdout, "seed": self.seed, "hash": self.hash, **lists}

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as JSON, with its hash."""
        lists = {name: list(getattr(self, name)) for name in _LABELS}
        record = {"format": _FORMAT, "holdout": self.holdout, "seed": self.seed, "hash": self.hash, **lists}
        Path(path).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> SplitManifest:
        """Read it from JSON.

        Raises
        ------
        ValueError
            If the file is not a manifest, or its hash does not match the lists because it was edited or truncated.
        """
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            lists = {name: tuple(str(each) for each in record[name]) for name in _LABELS}
            manifest = cls(holdout=str(record["holdout"]), seed=int(record["seed"]), **lists)
            expected = record["hash"]
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            msg = f"{str(path)!r} is not a split manifest: {error}. Write one with `SplitManifest.save`."
            raise ValueError(msg) from error
        if manifest.hash != expected:
            msg = f"The hash in {str(path)!r} is {expected!r}, its lists have {manifest.hash!r}: the file was changed."
            raise ValueError(msg)
        return manifest


def write_split(adata: AnnData, manifest: SplitManifest) -> None:
    """Write the labels of `manifest` and the manifest itself, and remove a reference of another split.

    Raises
    ------
    ValueError
        If the manifest and `adata` do not have the same conditions, control cells are held out, or cells occur twice.
    """
    own = Setup.of(adata)
    table, codes = condition_table(adata, own)
    check_conditions(manifest, table)
    check_not_doubled(adata, own.layer)
    labels = manifest.labels(table.index)
    warn_copies(adata, own.layer, labels[codes])
    log.note(described(labels, table))
    of_condition = pd.Series(labels, index=table.index)
    doses = at_other_doses(table, of_condition)
    if doses:
        log.tell(
            f"{len(doses)} test conditions are in training at another dose ({shortened(doses)}). Compare their predictions with the baselines "
            "`nearest_dose` and `interpolated_dose`."
        )
    alone = without_relatives(table, of_condition)
    if alone:
        log.warn(
            f"{len(alone)} test conditions share neither perturbation nor context with training ({shortened(alone)}): "
            "their predictions are based on `embeddings` or on genes alone."
        )
    _tell_replaced(adata, labels[codes])
    obs = {keys.SPLIT: pd.Categorical(labels[codes], categories=list(_LABELS)).remove_unused_categories()}
    if keys.ORIGIN not in adata.obs:
        # so that generated cells can be distinguished after they are joined
        obs[keys.ORIGIN] = pd.Categorical([keys.OBSERVED] * adata.n_obs)
    setup = {name: value for name, value in adata.uns[keys.SETUP].items() if name != "reference"}
    write(adata, obs=obs, uns={keys.SETUP: {**setup, keys.SPLIT: manifest.to_uns()}})


def _tell_replaced(adata: AnnData, labels: np.ndarray) -> None:
    """Tell that a column of the user, which this package did not write, is replaced."""
    if keys.SPLIT not in adata.obs or keys.SPLIT in adata.uns[keys.SETUP]:
        return
    if (adata.obs[keys.SPLIT].astype(str).to_numpy() != labels).any():
        log.tell(
            f"`obs[{keys.SPLIT!r}]` existed and is replaced. To split by such a column, rename it and pass "
            "`holdout='column', column=...` with train, validation and test in it."
        )


def described(labels: np.ndarray, table: pd.DataFrame) -> str:
    """One-line summary of a split: conditions and cells in each part."""
    control = table["is_control"].to_numpy()
    parts = []
    for label in (keys.TEST, keys.VALIDATION, keys.TRAIN):
        chosen = (labels == label) & ~control
        n, cells = int(chosen.sum()), int(table["n_cells"][chosen].sum())
        name = "training" if label == keys.TRAIN else label
        parts.append(f"{name} {n} conditions ({cells:,} cells)" if n else f"{name} none")
    return f"    split: {', '.join(parts)}; {int(table['n_cells'][control].sum()):,} control cells in training"


def read_split(adata: AnnData) -> SplitManifest:
    """Read the manifest from ``uns["scperturbrl"]``.

    Raises
    ------
    ValueError
        If there is none.
    """
    record = adata.uns.get(keys.SETUP, {}).get(keys.SPLIT)
    if record is None:
        msg = "`adata` is not split. Call `scperturbrl.pp.split(adata)` first."
        raise ValueError(msg)
    lists = {name: tuple(str(each) for each in record[name]) for name in _LABELS}
    return SplitManifest(holdout=str(record["holdout"]), seed=int(record["seed"]), **lists)


def check_conditions(manifest: SplitManifest, table: pd.DataFrame) -> None:
    """Raise ``ValueError`` if `manifest` has other conditions than `table`, or holds out control cells."""
    named = [*manifest.train, *manifest.validation, *manifest.test]
    missing, unknown = sorted(set(table.index) - set(named)), sorted(set(named) - set(table.index))
    if missing or unknown or len(named) != len(table):
        msg = (
            f"The split has other conditions than `adata`: {len(missing)} of `adata` are not in it ({missing[:3]}), "
            f"{len(unknown)} of it are not in `adata` ({unknown[:3]}). Subset `adata` to its conditions, or split "
            "again."
        )
        raise ValueError(msg)
    held_out = table.index[table["is_control"]].difference(list(manifest.train))
    if len(held_out):
        msg = (
            f"The split holds out control cells ({list(held_out[:3])}), the input of every prediction. They must be "
            "training cells."
        )
        raise ValueError(msg)
