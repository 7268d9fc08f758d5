"""Which held-out conditions can be predicted, and which share parts or contexts with training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scperturbrl._core import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

# number of names in messages; the others are counted
N_NAMED = 3


@dataclass(frozen=True)
class Described:
    """Perturbations with features, which can be predicted without training cells.

    Attributes
    ----------
    names
        Rows of the user's embeddings, or all measured genes.
    by_genes
        Whether these are the measured genes.
    ensembl
        Whether genes are named by Ensembl ids.
    """

    names: frozenset[str]
    by_genes: bool
    ensembl: bool = False

    @classmethod
    def of(cls, genes: Iterable[str], embeddings: pd.DataFrame | None) -> Described:
        """Rows of `embeddings`; if None, the measured `genes`."""
        found = frozenset(str(name) for name in (genes if embeddings is None else embeddings.index))
        share = sum(name.startswith("ENS") for name in found) / max(len(found), 1)
        return cls(found, embeddings is None, ensembl=embeddings is None and share > 0.5)

    def remedy(self) -> str:
        """Why a perturbation has no features, and the remedy."""
        if not self.by_genes:
            return "`embeddings` has no row of that name. Add one for each"
        if self.ensembl:
            return "`var_names` are Ensembl ids, but labels are not. Use the same names in both"
        return "no measured gene has that name. Pass `embeddings`, a table with a row for each, here and to `tl.fit_generator`"


def shortened(names: Sequence[str]) -> str:
    """The first three of `names`, and how many more there are."""
    rest = len(names) - N_NAMED
    return ", ".join(map(repr, names[:N_NAMED])) + (f" and {rest} more" if rest > 0 else "")


def predictable_units(
    table: pd.DataFrame, pool: dict[str, list[str]], described: Described
) -> tuple[dict[str, list[str]], list[str]]:
    """Units of `pool` whose parts all have other training cells or features, and the parts that exclude the others."""
    total = _parts(table["parts"])
    kept, unknown = {}, set[str]()
    for unit, names in pool.items():
        own = _parts(table.loc[names, "parts"])
        missing = {part for part in own if total[part] == own[part]} - described.names
        unknown |= missing
        if not missing:
            kept[unit] = names
    return kept, sorted(unknown)


def unpredictable(table: pd.DataFrame, labels: pd.Series, described: Described) -> dict[str, list[str]]:
    """Held-out conditions with their parts that have neither training cells nor features."""
    trained = set(_parts(table.loc[labels == keys.TRAIN, "parts"]))
    found = {
        name: [part for part in parts if part not in trained and part not in described.names]
        for name, parts in table.loc[labels != keys.TRAIN, "parts"].items()
    }
    return {str(name): missing for name, missing in found.items() if missing}


def without_relatives(table: pd.DataFrame, labels: pd.Series) -> list[str]:
    """Test conditions that share neither a perturbation nor the context with any perturbed training condition."""
    training = table[(labels == keys.TRAIN) & ~table["is_control"]]
    parts, groups = set(_parts(training["parts"])), set(training["group"])
    test = table[labels == keys.TEST]
    related = [
        group in groups or bool(set(own) & parts) for group, own in zip(test["group"], test["parts"], strict=True)
    ]
    return [str(name) for name, found in zip(test.index, related, strict=True) if not found]


def at_other_doses(table: pd.DataFrame, labels: pd.Series) -> list[str]:
    """Test conditions of which training has the same perturbation in the same context at another dose."""
    same = list(zip(table["parts"], table["group"], strict=True))
    known = {each for each, label in zip(same, labels, strict=True) if label == keys.TRAIN}
    return [
        str(name) for name, each in zip(table.index, same, strict=True) if labels[name] == keys.TEST and each in known
    ]


def _parts(rows: Iterable[tuple[str, ...]]) -> Counter[str]:
    return Counter(part for parts in rows for part in parts)
