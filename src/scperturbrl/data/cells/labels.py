"""Check for labels that would be misinterpreted."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from scperturbrl._core import log
from scperturbrl.data.cells.conditions import parse_perturbation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import pandas as pd

CONTROLS = ("control", "ctrl", "non-targeting", "NT", "DMSO", "unstimulated", "untreated", "vehicle", "mock", "PBS")

# names of controls and of cells without a perturbation, without signs, blanks and numbers of guides
_CONTROL_NAMES = frozenset({
    "control", "ctrl", "ctl", "nontargeting", "nontarget", "notarget", "notargeting", "nt", "ntc", "safetargeting", "safe", "scramble",
    "scrambled", "negctrl", "negcontrol", "negativecontrol", "dmso", "unstimulated", "untreated", "unperturbed", "vehicle", "mock", "pbs",
})  # fmt: skip
_UNASSIGNED = frozenset({
    "nan", "na", "none", "null", "unknown", "unassigned", "unmapped", "ambiguous", "negative", "multiplet", "doublet", "multiple",
    "noguide", "nosgrna",
})  # fmt: skip
_SEPARATORS = ("+", "_", ";", ",", "|", "&", "/", ":", "-", ".", " ")
_MOST_SHOWN = 10
# the number of a guide at the end of a label, such as CEBPA_1, CEBPA.sg2 or CEBPA-g3
_GUIDE = re.compile(r"^(.+?)[_.-](?:sg|g|guide)?\d+$")
# GEARS' `condition_name`: cell line, condition, and the doses 1 or 1+1
_GEARS = re.compile(r"^[^_]+_.+_1(\+1)?$")


def check_labels(labels: Sequence[str], var: pd.DataFrame, *, key: str, control: str, sep: str) -> None:
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
    parsed = {label: parse_perturbation(label, control=control, sep=sep) for label in labels}
    parsed = {label: parts for label, parts in parsed.items() if parts}
    parts = sorted({part for found in parsed.values() for part in found})
    measured = set(map(str, var.index))
    _unassigned(sorted(parsed), measured, key)
    _other_controls(parsed, measured, key, control, sep)
    _numbers_as_parts(parsed, key, sep)
    _other_separator(parts, measured, control, key, sep)
    _guides(parts, measured, key)
    _other_names(parts, var, key)
    _two_spellings(parsed, measured, key, sep)


def check_spellings(values: Iterable[str], *, key: str) -> None:
    """Warn if values of a covariate differ only in blanks or in upper and lower case."""
    change = _one_spelling(values)
    if change:
        _warn_spellings(change, change, key, "contexts")


def _unassigned(labels: Sequence[str], genes: set[str], key: str) -> None:
    found = [label for label in labels if _plain(label) in _UNASSIGNED and label not in genes]
    if found:
        log.warn(
            f"`obs[{key!r}]` has cells labelled {_listed(found)}, which count as perturbed. If their perturbation is "
            f"unknown, drop them:\nadata = adata[~adata.obs[{key!r}].astype(str).isin({found!r})].copy()"
        )


def _other_controls(parsed: dict[str, tuple[str, ...]], genes: set[str], key: str, control: str, sep: str) -> None:
    """Warn about perturbations named like a control, alone or in combinations, with a line that makes them one."""
    stems: dict[str, set[str]] = defaultdict(set)
    usual = _CONTROL_NAMES | {_plain(control)}
    for part in {part for parts in parsed.values() for part in parts} - genes:
        stems[_stem(part, usual)].add(part)
    # NT-3 is a cytokine, NT-1 and NT-2 are guides
    found = {
        part
        for stem, names in stems.items()
        if stem in usual
        for part in names
        if _plain(part) in usual or len(stem) > 2 or len(names) > 1
    }
    if not found:
        return
    names = sorted(label for label, parts in parsed.items() if set(parts) <= found)
    combined = sorted(label for label, parts in parsed.items() if set(parts) & found and not set(parts) <= found)
    told = (
        [f"has cells labelled {_listed(names)} in addition to the control {control!r}; they count as perturbed"]
        if names
        else []
    )
    told += (
        [f"has combinations with {_listed(sorted(found))}, such as {combined[0]!r}, as if of two perturbations"]
        if combined
        else []
    )
    if combined or len(names) > _MOST_SHOWN:
        change = f".map(lambda x: {sep!r}.join(part for part in x.split({sep!r}) if part.strip() not in {sorted(found)!r}) or {control!r})"
    else:
        change = f".replace({{{', '.join(f'{label!r}: {control!r}' for label in names)}}})"
    log.warn(
        f"`obs[{key!r}]` {', and '.join(told)}. "
        f"If they are controls too:\nadata.obs[{key!r}] = adata.obs[{key!r}].astype(str){change}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_.()-]", "", name.casefold())


def _stem(name: str, usual: frozenset[str]) -> str:
    """Plain name, without the number of a guide if that leaves a `usual` one."""
    plain = _plain(name)
    without = [re.sub(pattern, "", plain) for pattern in (r"\d+$", r"(sg|guide|g)\d+$")]
    return next((stem for stem in without if stem in usual), plain)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(map(repr, names[:_MOST_SHOWN])) + more


def _other_separator(parts: Sequence[str], genes: set[str], control: str, key: str, sep: str) -> None:
    """Warn if perturbations are others, or measured genes, joined by another separator than the declared one."""
    known = {*parts, *genes, control, "ctrl", "control"}
    found: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for part in parts:
        for other in _SEPARATORS:
            pieces = [piece.strip() for piece in part.split(other)]
            if other not in sep and part not in genes and len(pieces) > 1 and known >= set(pieces):
                found[other].append((part, pieces))
    if found:
        other = max(found, key=lambda name: len(found[name]))
        part, pieces = found[other][0]
        log.warn(
            f"`obs[{key!r}]` has the perturbation {part!r}, which looks like the combination of {' and '.join(map(repr, pieces))} "
            f"({len(found[other])} perturbations are like this). As one perturbation it may be in training while its parts are held "
            f"out. If it is a combination, pass `perturbation_sep={other!r}`."
        )


def _other_names(parts: Sequence[str], var: pd.DataFrame, key: str) -> None:
    """Warn if perturbations are genes that `var_names` has under other names."""
    genes = set(map(str, var.index))
    columns = {
        f"adata.var[{name!r}].astype(str)": set(var[name].astype(str))
        for name in var
        if var[name].dtype.kind not in "fiub"
    }
    ways = {
        **columns,
        "adata.var_names.str.upper()": {gene.upper() for gene in genes},
        'adata.var_names.str.split(".").str[0]': {gene.split(".")[0] for gene in genes},
    }
    here = len(genes.intersection(parts))
    line = max(ways, key=lambda way: len(ways[way].intersection(parts)))
    found = sorted(ways[line].intersection(parts) - genes)
    if len(found) > max(1, here, len(parts) / 4):
        log.warn(
            f"{len(found)} of {len(parts)} perturbations in `obs[{key!r}]`, such as {found[0]!r}, are measured genes under other names, so "
            "their own expression counts as a response, and they cannot be predicted unless they are trained on. Rename the genes:\n"
            f"adata.var_names = {line}"
        )


def _two_spellings(parsed: dict[str, tuple[str, ...]], genes: set[str], key: str, sep: str) -> None:
    change = _one_spelling({part for parts in parsed.values() for part in parts}, genes)
    wrong = {label: parts for label, parts in parsed.items() if set(parts) & set(change)}
    renamed = {label: sep.join(change.get(part, part) for part in parts) for label, parts in wrong.items()}
    if renamed:
        _warn_spellings(renamed, change, key, "perturbations")


def _one_spelling(names: Iterable[str], preferred: Collection[str] = ()) -> dict[str, str]:
    """The names to be changed so that none differ only in blanks or in upper and lower case."""
    same = defaultdict(list)
    for name in sorted(names, key=lambda name: (name not in preferred, name)):
        same["".join(name.casefold().split())].append(name)
    return {other: first for first, *others in same.values() for other in others}


def _warn_spellings(renamed: dict[str, str], change: dict[str, str], key: str, what: str) -> None:
    other, first = next(iter(change.items()))
    shown = dict(list(renamed.items())[:_MOST_SHOWN])
    log.warn(
        f"{other!r} and {first!r} in `obs[{key!r}]` differ only in blanks or in upper and lower case ({len(change)} names are like "
        f"this). They are different {what}, of which one may be held out while the other is in training. If they are the "
        f"same:\nadata.obs[{key!r}] = adata.obs[{key!r}].astype(str).replace({shown!r})"
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
