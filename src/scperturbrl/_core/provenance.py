"""Split and generator of results, and whether they are still current."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from scperturbrl._core import keys, log
from scperturbrl._core.validate import name_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData


class Recorded(Protocol):
    """A generator with a table of its conditions."""

    conditions: pd.DataFrame


G = TypeVar("G", bound=Recorded)
_LEARNT_FROM = (keys.TRAIN, keys.VALIDATION)
N_NAMED = 3
_REWARD = ("verifiers", "reward_steps", "energy_steps", "network")


def split_hash(adata: AnnData) -> str:
    """Hash of the split that `adata` has, "" without one."""
    return str(adata.uns.get(keys.SETUP, {}).get(keys.SPLIT, {}).get("hash", ""))


def array_hash(*values: Any) -> str:
    """Hash of arrays: their kinds, shapes and contents.

    Examples
    --------
    >>> array_hash(np.zeros(2)) == array_hash(np.zeros(2)) != array_hash(np.zeros(3))
    True
    """
    total = hashlib.blake2b(digest_size=8)
    for value in values:
        array = np.ascontiguousarray(value)
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def weights_hash(weights: dict[str, Any]) -> str:
    """Hash of named arrays in single precision, independent of their order."""
    # files return a single number in double precision
    return name_hash(f"{name} {array_hash(np.asarray(weights[name], dtype=np.float32))}" for name in sorted(weights))


def generator_hash(adata: AnnData, key: str) -> str:
    """Hash of the weights of the generator under `key`, "" if there is none."""
    record = adata.uns.get(key)
    return weights_hash(record["weights"]) if isinstance(record, dict) and "weights" in record else ""


def hashes_of(adata: AnnData, models: Iterable[str], generators: Iterable[str]) -> dict[str, str]:
    """Hash of the weights of each of `models` that is one of `generators`, "" for the others."""
    return dict.fromkeys(models, "") | {key: generator_hash(adata, key) for key in generators}


def with_layer(adata: AnnData, layer: str, *, key: str, made_under: str) -> dict[str, Any]:
    """The record of the package with the generator of a layer, and the split of its fit."""
    setup = adata.uns[keys.SETUP]
    note = {"made_by": key, "split_hash": made_under, "generator_hash": generator_hash(adata, key)}
    return {**setup, keys.LAYERS: {**setup.get(keys.LAYERS, {}), layer: note}}


def layer_note(adata: AnnData, layer: str | None) -> dict[str, str]:
    """Generator of a layer (``made_by``, ``generator_hash``) and its split, if known."""
    found = adata.uns.get(keys.SETUP, {}).get(keys.LAYERS, {}).get(layer, {})
    return {str(name): str(value) for name, value in found.items()}


def layer_hash(adata: AnnData, layer: str) -> str:
    """Hash of the split of the generator of a layer; "" if unknown."""
    return layer_note(adata, layer).get("split_hash", "")


def warn_older(adata: AnnData, made_by: Mapping[str, Mapping[str, str]], remedy: str) -> None:
    """Warn if results come from a generator that was refitted under the same key.

    Parameters
    ----------
    adata
        Annotated data.
    made_by
        Key (``made_by``) and hash (``generator_hash``) of the generator of each result, by the name of the result.
    remedy
        Function to call.
    """
    for name, note in made_by.items():
        key, then = note.get("made_by", ""), note.get("generator_hash", "")
        now = generator_hash(adata, key)
        if then and now and then != now:
            log.warn(f"{name} is older than the generator {key!r}, which was fitted again since. {remedy}")


def warn_old_layers(adata: AnnData, layers: Iterable[str], remedy: str = "Generate again.") -> None:
    """Warn if layers belong to another split, or to a generator that was refitted."""
    made = {f"`layers[{layer!r}]`": layer_note(adata, layer) for layer in layers}
    _warn_old(adata, made, remedy)


def warn_old_scores(adata: AnnData, place: str, key: str) -> None:
    """Warn if scores in `place` belong to another split, or to cells of a generator that was refitted."""
    record = adata.uns.get(keys.score(key), {})
    names = ("split_hash", "made_by", "generator_hash")
    _warn_old(adata, {place: {name: str(record.get(name, "")) for name in names}}, "Generate and score again.")


def _after_fit(adata: AnnData, makers: Iterable[str], remedy: str) -> str:
    """The `remedy`, after another fit if one of the generators `makers` was itself fitted under another split."""
    now = split_hash(adata)
    for key in makers:
        record = adata.uns.get(key) if key else None
        params = record.get("params", {}) if isinstance(record, dict) else {}
        if str(params.get("split_hash", "")) not in {"", now}:
            return f"Fit {key!r} again under the present split, then {remedy[0].lower()}{remedy[1:]}"
    return remedy


def _warn_old(adata: AnnData, made: Mapping[str, Mapping[str, str]], remedy: str) -> None:
    under = {name: note.get("split_hash", "") for name, note in made.items()}
    if same_split(under, split_hash(adata)):
        warn_other_split(adata, under, _after_fit(adata, [note.get("made_by", "") for note in made.values()], remedy))
    else:
        warn_older(adata, made, remedy)


def score_hash(adata: AnnData, key: str) -> str:
    """Hash of the split of the reference of scores; "" if unknown."""
    record = adata.uns.get(keys.score(key), {})
    return str(record.get("split_hash", "")) if hasattr(record, "get") else ""


def same_split(made_under: Mapping[str, str], now: str = "") -> str:
    """Describe results that belong to different splits; "" if there are none.

    Parameters
    ----------
    made_under
        Hash of the split of each result, by the name of the result; "" if unknown.
    now
        Hash of the current split.
    """
    known = {name: found for name, found in made_under.items() if found}
    if now:
        other = [name for name, found in known.items() if found != now]
        if other:
            return f"{' and '.join(other)} {'was' if len(other) == 1 else 'were'} made under another split than `adata` has now"
    if len(set(known.values())) > 1:
        return f"{' and '.join(known)} were made under different splits"
    return ""


def warn_other_split(adata: AnnData, made_under: Mapping[str, str], remedy: str) -> None:
    """Warn if results belong to another split than that of `adata`, or to different splits."""
    wrong = same_split(made_under, split_hash(adata))
    if wrong:
        log.warn(f"{wrong}, so held-out conditions may have been used for training. {remedy}")


def rewards(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Rewards of a generator with the settings `params`, and of its ancestors."""
    before = {str(name): dict(each) for name, each in params.get("ancestors", {}).items()}
    own = {name: params[name] for name in _REWARD if name in params} if "verifiers" in params else {}
    return {**before, **({str(len(before)): own} if own else {})}


def seen(conditions: pd.DataFrame) -> set[str]:
    """Conditions on which a generator was trained or selected, according to its record."""
    labels = conditions[keys.SPLIT].astype(str)
    return {str(name) for name in conditions.index[labels.isin(_LEARNT_FROM)]}


def leaked(conditions: pd.DataFrame, now: Mapping[str, str], wanted: Iterable[str] | None = None) -> list[str]:
    """Current test conditions (those in `wanted`) on which a generator with the record `conditions` was trained."""
    own = seen(conditions)
    names = now if wanted is None else wanted
    return [str(name) for name in names if now.get(name) == keys.TEST and str(name) in own]


def check_same_labels(key: str, conditions: pd.DataFrame, now: Mapping[str, str], verb: str) -> None:
    """Raise if a generator was fitted with a split in which conditions have other labels than now.

    Raises
    ------
    ValueError
        The message lists conditions with both labels.
    """
    then = conditions[keys.SPLIT].astype(str).to_dict()
    differ = [
        f"{name!r} ({then[name]}, now {label})"
        for name, label in now.items()
        if then.get(name, label) not in {label, ""}
    ]
    if differ:
        more = f" and {len(differ) - N_NAMED} more" if len(differ) > N_NAMED else ""
        msg = (
            f"The generator {key!r} was fitted under another split: {', '.join(differ[:N_NAMED])}{more}. {verb} would mix the two. "
            "Fit it under the present split with `tl.fit_generator`, or go back to its own with `pp.split`."
        )
        raise ValueError(msg)


def counted(names: Sequence[str]) -> str:
    """The first three of `names`, and the number of others."""
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(map(repr, names[:N_NAMED])) + more


def held_out_generators(
    generators: Mapping[str, G], now: Mapping[str, str], wanted: Iterable[str], asked: Iterable[str] | None
) -> dict[str, G]:
    """Generators that were not trained on any `wanted` test condition; others are left out with a warning.

    Raises
    ------
    ValueError
        If one of those is in `asked`.
    """
    kept, wanted = {}, list(wanted)
    for key, generator in generators.items():
        found = leaked(generator.conditions, now, wanted)
        if not found:
            kept[key] = generator
            continue
        told = (
            f"The generator {key!r} was fitted under another split and has seen {len(found)} of the test conditions in training "
            f"({counted(found)})"
        )
        if asked is not None:
            msg = f"{told}. It cannot be evaluated on them: fit it under the present split, or name other `conditions`."
            raise ValueError(msg)
        log.warn(f"{told}. It is left out.")
    return kept


def check_predictions_held_out(
    adata: AnnData,
    predictions: Mapping[str, AnnData],
    layers: Iterable[str],
    now: Mapping[str, str],
    wanted: Iterable[str],
) -> None:
    """Raise if predicted cells come from a generator that is known to be trained on a `wanted` test condition.

    Raises
    ------
    ValueError
        The message names the prediction or the layer.
    """
    test = [name for name in wanted if now.get(name) == keys.TEST]
    for name, other in predictions.items():
        made = other.uns.get("prediction", {}).get("conditions")
        own = set() if made is None or "seen" not in made else set(made.index[made["seen"].astype(bool)])
        found = [condition for condition in test if condition in own]
        if found:
            msg = f"`predictions[{name!r}]` was made by a generator that has seen {len(found)} of the test conditions in training ({counted(found)}). It cannot be evaluated on them."
            raise ValueError(msg)
    wrong = same_split({f"`layers[{layer!r}]`": layer_hash(adata, layer) for layer in layers}, split_hash(adata))
    if wrong and test:
        makers = [layer_note(adata, layer).get("made_by", "") for layer in layers]
        remedy = _after_fit(adata, makers, "Generate it again under the present split.")
        msg = f"{wrong}, so its generator may have seen test conditions. {remedy}"
        raise ValueError(msg)


def seen_rows(table: pd.DataFrame, generators: Mapping[str, Recorded], now: Mapping[str, str]) -> list[bool]:
    """For every row of an evaluation, whether its model may have been trained on the condition."""
    own = {key: seen(generator.conditions) for key, generator in generators.items()}
    rows = zip(table["model"].astype(str), table["condition"].astype(str), strict=True)
    return [name in own[model] if model in own else now.get(name) != keys.TEST for model, name in rows]
