"""Write a generator to the AnnData, and read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core import keys, log
from scperturbrl._core.default_key import next_number
from scperturbrl._core.files.checkpoint import CONFIG, WEIGHTS, read_directory
from scperturbrl._core.files.damage import DamagedFileError
from scperturbrl._core.provenance import counted, leaked, rewards, split_hash, weights_hash
from scperturbrl._core.serialize import to_uns, versions
from scperturbrl._core.validate import name_hash, near_matches
from scperturbrl._core.write import write
from scperturbrl.data.generator.vocabulary import Vocabulary, default_embeddings
from scperturbrl.flow.generator import Generator

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from anndata import AnnData


_KINDS = {dict: "group of fields", np.ndarray: "list"}
# columns of the table of conditions
_COLUMNS = ("perturbation", "group", "dose", "n_cells", "n_parts", "parts_seen", keys.SPLIT)


@dataclass
class StoredGenerator:
    """A generator with everything that belongs to it.

    Attributes
    ----------
    generator
        The model.
    vocabulary
        Names of its tokens.
    params
        Settings, seed, versions and parent key.
    fitted
        What training found: the outcome of the run, the share of the linear part, and the self-check.
    history
        One row per logged step.
    conditions
        One row per condition: split, cells, parts.
    genes
        Names of the genes, in order.
    """

    generator: Generator
    vocabulary: Vocabulary
    params: dict[str, Any]
    fitted: dict[str, Any]
    history: pd.DataFrame
    conditions: pd.DataFrame
    genes: list[str]

    def training_conditions(self) -> list[str]:
        """Names of the conditions to which it was fitted."""
        return list(self.conditions.index[self.conditions[keys.SPLIT] == keys.TRAIN])

    def made_under(self) -> str:
        """Hash of the split with which it was fitted; "" if it is not recorded."""
        return str(self.params.get("split_hash", ""))

    def to_uns(self) -> dict[str, Any]:
        """Return plain values that AnnData can write."""
        user_embeddings = bool(self.params["embeddings"] == "user")
        return {
            "params": to_uns(self.params),
            "fitted": to_uns(self.fitted),
            "weights": self.generator.to_arrays(),
            "space": {
                "architecture": to_uns(self.generator.architecture_dict()),
                "vocabulary": self.vocabulary.to_uns(),
                "genes": np.array(self.genes, dtype=str),
                **({"embeddings": self.vocabulary.embeddings} if user_embeddings else {}),
            },
            "history": self.history,
            "conditions": self.conditions,
        }

    @classmethod
    def from_uns(cls, record: dict[str, Any]) -> StoredGenerator:
        """Build it from the result of :meth:`to_uns`, also after a round trip through a file."""
        space = record["space"]
        generator = Generator.from_arrays(space["architecture"], record["weights"])
        genes = [str(gene) for gene in space["genes"]]
        embeddings = space.get("embeddings")
        if embeddings is None:
            embeddings = default_embeddings(generator, genes)
        n_covariates = len(generator.architecture.n_covariate_values)
        vocabulary = Vocabulary.from_uns(space["vocabulary"], n_covariates, embeddings)
        check_fit(generator, vocabulary, genes)
        params, fitted = dict(record["params"]), dict(record["fitted"])
        return cls(generator, vocabulary, params, fitted, record["history"], record["conditions"], genes)


def load_stored(path: str | os.PathLike[str]) -> StoredGenerator:
    """The generator in the directory `path`.

    Raises
    ------
    FileNotFoundError
        If there is no such directory, or a file of it is missing.
    DamagedFileError
        If a file is damaged, or its content is not a valid generator.
    """
    folder, record = Path(path), read_directory(path)
    _check_fields(folder, record)
    try:
        stored = StoredGenerator.from_uns(record)
        stored.to_uns()
    except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, ValueError) as error:
        what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
        quoted = [name for name in record["weights"] if repr(name) in what]
        if quoted or " weight" in what:
            raise DamagedFileError(folder / WEIGHTS, quoted[0] if quoted else "", what) from error
        raise DamagedFileError(folder / CONFIG, "space", what) from error
    if stored.params.get("gene_hash", name_hash(stored.genes)) != name_hash(stored.genes):
        raise DamagedFileError(folder / CONFIG, "params.gene_hash", "it does not fit the names in 'space.genes'")
    return stored


def _check_fields(folder: Path, record: dict[str, Any]) -> None:
    """Raise ``DamagedFileError`` unless all parts of a record except weights exist and have the right types."""
    space = record.get("space")
    inner = space if isinstance(space, dict) else {}
    vocabulary = inner.get("vocabulary")
    kinds: dict[str, tuple[Any, type]] = {
        "params": (record.get("params"), dict),
        "fitted": (record.get("fitted"), dict),
        "space": (space, dict),
        "space.architecture": (inner.get("architecture"), dict),
        "space.vocabulary": (vocabulary, dict),
        "space.genes": (inner.get("genes"), np.ndarray),
    }
    for name, value in (vocabulary if isinstance(vocabulary, dict) else {}).items():
        kinds[f"space.vocabulary.{name}"] = (value, np.ndarray)
    for field, (value, kind) in kinds.items():
        if not isinstance(value, kind):
            raise DamagedFileError(folder / CONFIG, field, f"it is {str(value)[:40]!r}, no {_KINDS[kind]}")
    if not isinstance(record["params"].get("setup", {}), dict):
        raise DamagedFileError(folder / CONFIG, "params.setup", "it is not a group of fields")
    missing = [name for name in _COLUMNS if name not in record["conditions"]]
    if missing:
        raise DamagedFileError(folder / "conditions.csv", missing[0], "the column is missing")


def check_fit(generator: Generator, vocabulary: Vocabulary, genes: list[str]) -> None:
    """Raise ``ValueError`` if the number of names does not fit the generator; the message names the field."""
    sizes = generator.architecture
    found = {
        "genes": (len(genes), sizes.n_genes),
        "tokens": (len(vocabulary.tokens), sizes.n_tokens),
        "groups": (len(vocabulary.groups), sizes.n_groups),
        "contexts": (len(vocabulary.contexts), sizes.n_contexts),
        "embeddings": (vocabulary.embeddings.shape[1], sizes.n_features),
    }
    for i, (values, n) in enumerate(zip(vocabulary.covariate_values, sizes.n_covariate_values, strict=True)):
        found[f"covariate_{i}"] = (len(values), n)
    for name, (n, expected) in found.items():
        if n != expected:
            msg = f"The generator has {n} {name}, but its architecture says {expected}: the record was edited."
            raise ValueError(msg)
    for name in ("tokens", "groups", "contexts"):
        if len(set(getattr(vocabulary, name))) != len(getattr(vocabulary, name)):
            msg = f"The {name} of the generator are not distinct: the record was edited."
            raise ValueError(msg)


def write_generator(adata: AnnData, key: str, stored: StoredGenerator) -> None:
    """Write `stored` to ``uns[key]``, with everything on which its numbers depend in addition to its settings."""
    setup, parent = adata.uns[keys.SETUP], str(stored.params.get("parent") or "")
    stored.params |= {
        "versions": versions(),
        "log_state": str(setup["setup"]["log_state"]),
        # needed to apply the generator to cells of another AnnData
        "setup": dict(setup["setup"]),
        "gene_hash": name_hash(stored.genes),
        "split_hash": split_hash(adata),
        "number": next_number(adata),
        # the parent may be deleted, and is not saved with the generator
        "ancestors": rewards(adata.uns[parent]["params"]) if parent else {},
        "parent_hash": weights_hash(adata.uns[parent]["weights"]) if parent else "",
    }
    write(adata, uns={key: stored.to_uns()})


def read_generator(adata: AnnData, key: str) -> StoredGenerator:
    """Read ``uns[key]``.

    Raises
    ------
    KeyError
        If there is no generator `key`; the message lists existing ones.
    ValueError
        If it was fitted on other genes, on the same in another order, or with other covariates, dose or control.
    """
    if not is_generator(adata, key):
        found = generator_keys(adata)
        hint = near_matches(key, found) if found else " Call `scperturbrl.tl.fit_generator(adata)` first."
        msg = f"`uns` has no generator {key!r}.{hint}"
        raise KeyError(msg)
    stored = StoredGenerator.from_uns(adata.uns[key])
    check_genes(stored.genes, adata.var_names, or_else=f", or fit {key!r} again with `tl.fit_generator`")
    check_declared(stored, adata, f"The generator {key!r}")
    return stored


def check_declared(stored: StoredGenerator, adata: AnnData, name: str) -> None:
    """Raise if conditions have another meaning in the setup of `adata` than in the fit of a generator.

    Raises
    ------
    ValueError
        The message names the difference.
    """
    then, now = stored.params.get("setup", {}), adata.uns.get(keys.SETUP, {}).get("setup", {})
    if not then or not now:
        return
    control = str(now["control"])
    if control in stored.vocabulary.tokens:
        msg = f"{name} was fitted with {control!r} as a perturbation, which is the control of `adata` now. Declare {str(then['control'])!r}, or fit again."
        raise ValueError(msg)
    for field, words in (("covariate_keys", "covariates"), ("dose_key", "a dose")):
        was, found = (_declared(one.get(field)) for one in (then, now))
        if was != found:
            msg = (
                f"{name} was fitted with {words} {was or 'not declared'}, which `adata` declares as "
                f"{found or 'nothing'}: its conditions have another meaning. Call `pp.setup_anndata` with the same "
                "arguments as for the fit, or fit again."
            )
            raise ValueError(msg)


def _declared(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(each) for each in value]


def warn_leaked(key: str, stored: StoredGenerator, now: Mapping[str, str], wanted: Iterable[str] | None = None) -> None:
    """Warn if a generator was trained on test conditions of the current split (those in `wanted`)."""
    found = leaked(stored.conditions, now, wanted)
    if found:
        log.warn(
            f"The generator {key!r} was fitted with another split and was trained on {len(found)} of the test "
            f"conditions ({counted(found)}): its cells of these conditions are not predictions of held-out conditions."
        )


def check_genes(
    expected: list[str],
    found: pd.Index,
    *,
    whose: str = "The generator was fitted on",
    other: str = "`adata`",
    or_else: str = "",
) -> None:
    """Raise ``ValueError`` unless the genes are the same in the same order."""
    if name_hash(expected) == name_hash(found):
        return
    missing, more = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    what = f"{more[:5]} are not among them" if more else "the genes are in another order"
    what = f"genes are missing, {missing[:5]} among them" if missing else what
    msg = f"{whose} {len(expected)} genes, {other} has {len(found)}: {what}. Bring them to the same genes in the same order, such as `{other.strip('`')}[:, genes]`{or_else}."
    raise ValueError(msg)


def is_generator(adata: AnnData, key: str) -> bool:
    """Whether ``uns[key]`` is a generator."""
    record = adata.uns.get(key)
    return isinstance(record, dict) and {"params", "fitted", "weights", "space"} <= set(record)


def generator_keys(adata: AnnData) -> list[str]:
    """Keys of all generators in `adata`."""
    return [key for key in adata.uns if is_generator(adata, key)]


def positions(stored: StoredGenerator) -> dict[str, int]:
    """Row of each perturbed training condition among the stored shifts and effects."""
    perturbed = stored.conditions["n_parts"] > 0
    return {name: i for i, name in enumerate(n for n in stored.training_conditions() if perturbed[n])}


def condition_frame(table: pd.DataFrame, split: dict[str, str], vocabulary: Vocabulary) -> pd.DataFrame:
    """The condition table for storage: plain columns, one row per condition."""
    frame = table[["perturbation", "group", "dose", "n_cells"]].copy()
    frame["n_parts"] = table["parts"].str.len()
    frame["parts_seen"] = [sum(part in vocabulary.numbers for part in parts) for parts in table["parts"]]
    frame[keys.SPLIT] = [split.get(name, "") for name in table.index]
    return frame
