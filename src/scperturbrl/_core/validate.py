"""Checks of user input, with errors that name the column, the value and the remedy."""

from __future__ import annotations

import difflib
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

_ALIASES = {
    "perturbation": (
        "target_gene",
        "condition",
        "gene",
        "drug",
        "guide_identity",
        "perturbation",
        "treatment",
        "cytokine",
    ),
    "covariate": ("cell_type", "celltype", "cell_line", "patient_id", "donor", "batch"),
    "dose": ("dose", "dose_value", "dosage"),
}


def near_matches(name: str, candidates: Iterable[str], *, usual: Iterable[str] = ()) -> str:
    """Phrase that lists the candidates closest to `name` and the `usual` ones among them, or all of a short list."""
    options = list(dict.fromkeys(str(candidate) for candidate in candidates))
    if not options:
        return " There are none."
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    folded = {spelling.casefold() for spelling in (name, *usual)}
    found = list(dict.fromkeys(close + [option for option in options if option.casefold() in folded]))
    if found:
        return f" Did you mean {', '.join(map(repr, found))}?"
    return f" Available: {', '.join(map(repr, options[:15]))}{', ...' if len(options) > 15 else ''}."


def check_obs_column(adata: AnnData, key: str, *, role: str) -> None:
    """Raise unless ``obs[key]`` exists and has no missing values.

    Raises
    ------
    KeyError
        If the column does not exist; the message lists similar names and common names for `role`.
    ValueError
        If the column has missing values; the message gives their number.
    """
    if key not in adata.obs:
        hint = near_matches(key, adata.obs.columns, usual=_ALIASES.get(role, ()))
        msg = f"`obs` has no column {key!r} (wanted as the {role} column).{hint}"
        raise KeyError(msg)
    n_missing = int(adata.obs[key].isna().sum())
    if n_missing:
        msg = f"`obs[{key!r}]` has {n_missing} missing values. Fill or drop these cells first."
        raise ValueError(msg)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ``ValueError`` unless `value` is one of `choices`."""
    if value not in choices:
        msg = f"`{name}` is {value!r}; it must be one of {', '.join(map(repr, choices))}."
        raise ValueError(msg)


def check_number(**values: Any) -> None:
    """Raise ``TypeError`` for the first keyword whose value is not a number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            msg = f"`{name}` is {value!r}; it must be a number."
            raise TypeError(msg)


def check_positive(**values: float) -> None:
    """Raise an error for the first keyword whose value is not a positive number."""
    check_number(**values)
    for name, value in values.items():
        if not value > 0:
            msg = f"`{name}` is {value!r}; it must be above 0."
            raise ValueError(msg)


def check_fraction(**values: float) -> None:
    """Raise an error for the first keyword whose value is not a number in [0, 1)."""
    check_number(**values)
    for name, value in values.items():
        if not 0 <= value < 1:
            msg = f"`{name}` is {value!r}; it must be at least 0 and below 1."
            raise ValueError(msg)


def check_unique_names(adata: AnnData) -> None:
    """Raise ``ValueError`` if names of cells or genes are not unique."""
    for axis, names in (("var", adata.var_names), ("obs", adata.obs_names)):
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            msg = f"`{axis}_names` are not unique ({twice!r} occurs more than once). Call `adata.{axis}_names_make_unique()`."
            raise ValueError(msg)


def check_log_normalised(values: Any, *, where: str) -> None:
    """Raise unless the matrix may be log1p-normalised expression.

    Counts (whole numbers), unlogged normalised values (above 25, more than 7e10 counts per cell), scaled values
    (negative) and non-finite values have separate messages with a remedy.

    Raises
    ------
    TypeError
        If the matrix is absent or not numeric.
    ValueError
        If its values are not log-normalised.
    """
    if values is None:
        msg = f"{where} is empty (None). Put log-normalised expression there, or name another `layer`."
        raise TypeError(msg)
    if values.dtype == np.float16:
        msg = (
            f"{where} has dtype float16, which has too few digits to distinguish counts. Normalise the counts again "
            "and keep float32."
        )
        raise TypeError(msg)
    if values.dtype.kind not in "fiu":
        msg = f"{where} has dtype {values.dtype}; expression must be numeric. Convert it with `.astype('float32')`."
        raise TypeError(msg)
    found = _Range()
    # a matrix in a file is read block by block
    for block in values.blocks() if hasattr(values, "blocks") else [values]:
        found.add(block.data if sparse.issparse(block) else np.asarray(block))
    if not found.finite:
        msg = f"{where} contains NaN or infinite values. Remove those cells or genes first."
        raise ValueError(msg)
    if not found.nonzero:
        msg = f"{where} contains no expression: every value is zero."
        raise ValueError(msg)
    fix = "sc.pp.normalize_total(adata, target_sum=1e4)\nsc.pp.log1p(adata)"
    if -0.02 * found.largest < found.smallest < 0:
        msg = f"{where} goes down to {found.smallest:.3g}: below 0, as values of a regression may. Set those to 0 (`np.clip(values, 0, None)`)."
        raise ValueError(msg)
    if found.smallest < 0:
        msg = f"{where} contains negative values, so it looks scaled. Pass the log-normalised values, made by\n{fix}"
        raise ValueError(msg)
    if found.whole:
        msg = f"{where} contains whole numbers only, so it looks like raw counts. Log-normalise it first:\n{fix}"
        raise ValueError(msg)
    if found.largest > 25:
        msg = f"{where} goes up to {found.largest:.4g}, too high for log1p values. Run `sc.pp.log1p(adata)` first."
        raise ValueError(msg)


@dataclass
class _Range:
    """Summary of values, updated block by block."""

    smallest: float = math.inf
    largest: float = -math.inf
    whole: bool = True
    finite: bool = True
    nonzero: bool = False

    def add(self, values: np.ndarray) -> None:
        if not values.size:
            return
        self.finite = self.finite and bool(np.isfinite(values).all())
        self.nonzero = self.nonzero or bool(values.any())
        # one value that is not whole is enough
        self.whole = self.whole and np.array_equal(values, np.rint(values))
        self.smallest, self.largest = min(self.smallest, values.min()), max(self.largest, values.max())


def name_hash(names: Iterable[str]) -> str:
    """Hash of an ordered list of names, to detect changes of genes or cells."""
    return hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest()[:16]
