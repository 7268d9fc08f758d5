"""Draw conditions to hold out, and report the choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.random import numpy_rng
from scperturbrl.data.split.holdout import COMBINATIONS, NOTHING, choose, without_parts
from scperturbrl.data.split.predictable import predictable_units, shortened, unpredictable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.setup import Setup
    from scperturbrl.data.split.predictable import Described


def drawn(
    table: pd.DataFrame,
    pool: dict[str, list[str]],
    setup: Setup,
    holdout: str | Sequence[str],
    values: Sequence[str] | Sequence[Sequence[str]] | None,
    fraction: float,
    parts_seen: int | None,
    described: Described,
    seed: int,
) -> tuple[list[str], list[str]]:
    """Units to hold out, and parts that must be removed from training with them."""
    rng = numpy_rng(seed, "held-out units")
    if holdout == NOTHING:
        return [], []
    if parts_seen is None:
        if values is not None:
            return choose(pool, values, fraction, rng, setup=setup, holdout=holdout), []
        pool = only_predictable(table, pool, described, holdout)
        return _together(table, pool, choose(pool, None, fraction, rng, setup=setup, holdout=holdout), described), []
    if holdout != COMBINATIONS or values is not None or parts_seen < 0:
        msg = f"`parts_seen={parts_seen!r}` needs `holdout='combinations'` without `values`."
        raise ValueError(msg)
    n = max(1, round(fraction * len(pool)))
    chosen, removed = without_parts(table, pool, n=n, parts_seen=parts_seen, described=described, rng=rng)
    if not chosen:
        msg = (
            f"No combination can be held out with exactly {parts_seen} of its parts seen. Change `parts_seen`; parts "
            "removed from training must be measured genes or have a row in `embeddings`."
        )
        raise ValueError(msg)
    return chosen, removed


def only_predictable(
    table: pd.DataFrame, pool: dict[str, list[str]], described: Described, holdout: str | Sequence[str]
) -> dict[str, list[str]]:
    """Units of `pool` that could be predicted; report the others."""
    kept, unknown = predictable_units(table, pool, described)
    if not kept:
        msg = (
            f"No condition of `holdout={holdout!r}` could be predicted: {shortened(unknown)} would have no training "
            f"cells, and {described.remedy()}."
        )
        raise ValueError(msg)
    if unknown:
        log.tell(
            f"{len(pool) - len(kept)} of {len(pool)} are not drawn, because they could not be predicted: "
            f"{shortened(unknown)} would have no training cells, and {described.remedy()}."
        )
    return kept


def _together(table: pd.DataFrame, pool: dict[str, list[str]], chosen: list[str], described: Described) -> list[str]:
    """Those of `chosen` that can be predicted if all of them are held out, at least one."""
    kept: list[str] = []
    for unit in chosen:
        labels = pd.Series(keys.TRAIN, index=table.index)
        labels[[name for each in [*kept, unit] for name in pool[each]]] = keys.TEST
        if not unpredictable(table, labels, described):
            kept.append(unit)
    if len(kept) < len(chosen):
        gone = [unit for unit in chosen if unit not in kept]
        log.tell(f"{shortened(gone)} stay in training: without them some held-out conditions could not be predicted.")
    return kept


def warn_unpredictable(table: pd.DataFrame, labels: pd.Series, described: Described) -> None:
    """Warn about held-out conditions that cannot be predicted."""
    found = unpredictable(table, labels, described)
    if found:
        names = sorted({part for parts in found.values() for part in parts})
        log.warn(
            f"{len(found)} held-out conditions cannot be predicted, and `tl.fit_generator` will refuse them: "
            f"{shortened(names)} have no training cells, and {described.remedy()}."
        )
