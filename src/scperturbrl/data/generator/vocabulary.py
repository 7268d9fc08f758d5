"""Vocabulary of a generator: encodes perturbations, covariates and conditions as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from scperturbrl._core.validate import near_matches
from scperturbrl.flow.condition_encoder import ConditionBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scperturbrl.flow.generator import Generator


@dataclass(frozen=True)
class Vocabulary:
    """Names of tokens and covariate indices, and features of unseen perturbations.

    Attributes
    ----------
    tokens
        Perturbations of the training conditions; token i + 1 is the i-th.
    covariate_values
        Known values of each covariate; index i + 1 is the i-th.
    embeddings
        Features of perturbations, one row each: the user's table, or loadings of all measured genes.
    groups
        Control groups with perturbed training cells; group i + 1 of the linear part is the i-th.
    contexts
        Control groups whose effects are transferred to new ones: `groups`, and those with perturbed validation cells;
        none without covariates.
    """

    tokens: tuple[str, ...]
    covariate_values: tuple[tuple[str, ...], ...]
    embeddings: pd.DataFrame
    groups: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Token of each perturbation of the training conditions."""
        return {name: i + 1 for i, name in enumerate(self.tokens)}

    def known(self, part: str) -> bool:
        """Whether the perturbation can be encoded."""
        return part in self.numbers or part in self.embeddings.index

    def batch(self, table: pd.DataFrame) -> ConditionBatch:
        """Conditions of a condition table as tensors.

        Raises
        ------
        KeyError
            If a perturbation was not trained on and has no features; the message names it.
        """
        self._check(table)
        n, length = len(table), max(1, max((len(parts) for parts in table["parts"]), default=1))
        tokens, present = torch.zeros(n, length, dtype=torch.long), torch.zeros(n, length)
        features = torch.zeros(n, length, self.embeddings.shape[1])
        places = [(row, slot, part) for row, parts in enumerate(table["parts"]) for slot, part in enumerate(parts)]
        if places:
            row, slot, names = (np.array(each) for each in zip(*places, strict=True))
            tokens[row, slot] = torch.tensor([self.numbers.get(name, 0) for name in names])
            present[row, slot] = 1
            # all at once, because pandas takes as long for one name as for hundreds
            found = self.embeddings.index.get_indexer(names)
            told = found >= 0
            values = self.embeddings.iloc[found[told]].to_numpy(np.float32)
            features[row[told], slot[told]] = torch.as_tensor(values)
        return ConditionBatch(
            tokens=tokens,
            features=features,
            present=present,
            dose=torch.tensor(table["dose"].to_numpy(np.float32)),
            covariates=self._covariates(table["covariates"]),
            shift=torch.zeros(n, 1),
        )

    def group_codes(self, table: pd.DataFrame) -> torch.Tensor:
        """Group ``(C,)`` of each condition for the linear part; 0 for one without perturbed training cells."""
        index = {name: i + 1 for i, name in enumerate(self.groups)}
        return torch.tensor([index.get(name, 0) for name in table["group"]], dtype=torch.long)

    def _covariates(self, rows: Iterable[Sequence[str]]) -> torch.Tensor:
        index = [{value: i + 1 for i, value in enumerate(values)} for values in self.covariate_values]
        codes = [[known.get(value, 0) for known, value in zip(index, row, strict=True)] for row in rows]
        return torch.as_tensor(codes, dtype=torch.long).reshape(len(codes), len(index))

    def _check(self, table: pd.DataFrame) -> None:
        for parts in table["parts"]:
            for part in parts:
                if not self.known(part):
                    options = [*self.tokens, *map(str, self.embeddings.index)]
                    msg = (
                        f"The perturbation {part!r} is unknown: it was not trained on, is not a measured gene and has "
                        f"no row in `embeddings`, so any prediction would be random.{near_matches(part, options)} Pass "
                        "the `embeddings` of `pp.split` to `tl.fit_generator`, or a table with a row for it."
                    )
                    raise KeyError(msg)

    def to_uns(self) -> dict[str, Any]:
        """Plain values that AnnData can write; embeddings that are gene loadings are not stored twice."""
        values = {f"covariate_{i}": np.array(v, dtype=str) for i, v in enumerate(self.covariate_values)}
        names = {name: np.array(getattr(self, name), dtype=str) for name in ("tokens", "groups", "contexts")}
        return {**names, **values}

    @classmethod
    def from_uns(cls, values: Mapping[str, Any], n_covariates: int, embeddings: pd.DataFrame) -> Vocabulary:
        """Read what :meth:`to_uns` wrote, of which `n_covariates` entries are values of covariates."""
        words = lambda name: tuple(str(value) for value in values[name])
        covariates = tuple(words(f"covariate_{i}") for i in range(n_covariates))
        return cls(words("tokens"), covariates, embeddings, words("groups"), words("contexts"))


def gene_embeddings(components: np.ndarray, genes: Iterable[str]) -> pd.DataFrame:
    """Features of every measured gene: its loadings ``(G, d)`` on the training cells' components, unit mean square."""
    scale = np.sqrt(np.mean(np.square(components)))
    return pd.DataFrame(components / max(scale, 1e-12), index=pd.Index(genes).astype(str))


def default_embeddings(generator: Generator, genes: Iterable[str]) -> pd.DataFrame:
    """Loadings of every gene on the generator's own components."""
    return gene_embeddings(generator.space.components.cpu().numpy(), genes)


def check_embeddings(embeddings: pd.DataFrame) -> pd.DataFrame:
    """Check `embeddings`, and return them with names that can be written to a file.

    Raises
    ------
    TypeError
        If it is not a table of numbers.
    ValueError
        If it is empty, holds values that are not finite, or has two rows with the same name.
    """
    if not isinstance(embeddings, pd.DataFrame):
        msg = f"`embeddings` is a {type(embeddings).__name__}; a DataFrame with one row per perturbation is needed."
        raise TypeError(msg)
    texts = [str(name) for name, dtype in embeddings.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
    if texts:
        msg = f"`embeddings` has columns that are not numeric: {texts[:5]}. Leave them out."
        raise TypeError(msg)
    if not embeddings.size:
        msg = f"`embeddings` is empty ({embeddings.shape[0]} rows, {embeddings.shape[1]} columns)."
        raise ValueError(msg)
    bad = embeddings.index[~np.isfinite(embeddings.to_numpy(float)).all(1)]
    if len(bad):
        msg = f"`embeddings` holds values that are not finite for {list(bad[:5])}. Drop these rows."
        raise ValueError(msg)
    named = embeddings.rename(index=str, columns=str)
    if not named.index.is_unique:
        msg = f"`embeddings` has more than one row for {named.index[named.index.duplicated()][0]!r}."
        raise ValueError(msg)
    if not named.columns.is_unique:
        named.columns = [f"{name}_{i}" for i, name in enumerate(named.columns)]
    return named.rename_axis(index=None, columns=None)


def training_vocabulary(
    table: pd.DataFrame,
    training: np.ndarray,
    validation: np.ndarray,
    covariate_keys: Sequence[str],
    embeddings: pd.DataFrame,
) -> Vocabulary:
    """Vocabulary of the conditions of `table` with training cells; `validation` marks those with validation cells.

    A covariate value is known only if it has perturbed training cells. A code learnt from control cells alone would
    mean "no effect"; without a code, the context is known from the control cell.
    """
    perturbed = ~table["is_control"].to_numpy(dtype=bool)
    rows = table[training & perturbed]
    tokens = sorted({part for parts in rows["parts"] for part in parts})
    values = [tuple(sorted(rows["covariates"].str[i].unique())) for i in range(len(covariate_keys))]
    groups = sorted(rows["group"].unique())
    others = sorted(set(table.loc[validation & perturbed, "group"]) - set(groups))
    # without covariates there is no other context
    contexts = (*groups, *others) if covariate_keys else ()
    return Vocabulary(tuple(tokens), tuple(values), embeddings, tuple(groups), contexts)
