"""Check for labels that would be misinterpreted."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from scperturbrl._core import log
from scperturbrl.data.cells.conditions import parse_perturbation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CONTROLS = ("control", "ctrl", "non-targeting", "NT", "DMSO", "unstimulated", "untreated", "vehicle", "mock", "PBS")

# the number of a guide at the end of a label, such as CEBPA_1, CEBPA.sg2 or CEBPA-g3
_GUIDE = re.compile(r"^(.+?)[_.-](?:sg|g|guide)?\d+$")
# GEARS' `condition_name`: cell line, condition, and the doses 1 or 1+1
_GEARS = re.compile(r"^[^_]+_.+_1(\+1)?$")


def check_labels(labels: Sequence[str], genes: Iterable[str], *, key: str, control: str, sep: str) -> None:
    """Warn about labels that are probably misinterpreted, with a line of code that corrects them.

    Raises
    ------
    ValueError
        If they contain cell line, condition and dose in one label, as written by GEARS.
    """
    if (
        len(labels) > 1
        and all(_GEARS.match(label) for label in labels)
        and any(label.endswith("+1") for label in labels)
    ):
        msg = (
            f"`obs[{key!r}]` holds cell line, condition and dose in one label, such as {labels[0]!r}. "
            'GEARS writes the condition alone to another column: `perturbation_key="condition", control="ctrl"`.'
        )
        raise ValueError(msg)
    own = [label for label in labels if label != control]
    _other_controls(own, key, control)
    parsed = {label: parse_perturbation(label, control=control, sep=sep) for label in own}
    _numbers_as_parts(parsed, key, sep)
    parts = {part for found in parsed.values() for part in found}
    _guides(sorted(parts), set(map(str, genes)), key)


def _other_controls(labels: Sequence[str], key: str, control: str) -> None:
    usual = {name.casefold() for name in CONTROLS} | {control.casefold()}
    found = sorted(label for label in labels if label.strip().casefold() in usual)
    if found:
        change = ", ".join(f"{label!r}: {control!r}" for label in found)
        log.warn(
            f"`obs[{key!r}]` has cells labelled {', '.join(map(repr, found))} in addition to the control {control!r}; "
            "they count as perturbed. "
            f"If they are controls too:\nadata.obs[{key!r}] = adata.obs[{key!r}].astype(str).replace({{{change}}})"
        )


def _numbers_as_parts(parsed: dict[str, tuple[str, ...]], key: str, sep: str) -> None:
    found = [(label, parts) for label, parts in parsed.items() if len(parts) > 1 and any(p.isdigit() for p in parts)]
    if found:
        label, parts = found[0]
        log.warn(
            f"With `perturbation_sep={sep!r}` {label!r} is a combination of {' and '.join(map(repr, parts))}. If the "
            f"number is that of a guide or replicate, remove it:\n{_without_number(key)}"
        )


def _guides(parts: Sequence[str], genes: set[str], key: str) -> None:
    """Warn if several perturbations are the same measured gene with different numbers."""
    stems = defaultdict(list)
    for part in parts:
        match = _GUIDE.match(part)
        if match and part not in genes and match[1] in genes:
            stems[match[1]].append(part)
    same = {stem: names for stem, names in stems.items() if len(names) > 1 or stem in parts}
    if same:
        stem, names = next(iter(same.items()))
        log.warn(
            f"{', '.join(map(repr, names[:3]))} look like guides of one gene, {stem!r} ({len(same)} such genes). As "
            "separate perturbations, one may be held out while another is in training. If they are the same "
            f"perturbation:\n{_without_number(key)}"
        )


def _without_number(key: str) -> str:
    pattern = r"[_.-](sg|g|guide)?\d+(?=$|\+)"
    return f'adata.obs[{key!r}] = adata.obs[{key!r}].astype(str).str.replace(r"{pattern}", "", regex=True)'
