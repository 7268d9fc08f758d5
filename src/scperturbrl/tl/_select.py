"""Select generated cells by their reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.machine.threads import pinned
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import layer_hash, same_split, score_hash, split_hash
from scperturbrl._core.random import Seed, numpy_rng, resolve_seed
from scperturbrl._core.validate import check_choice, check_positive, near_matches
from scperturbrl._core.write import write
from scperturbrl.data.cells.setup import expression
from scperturbrl.data.scoring.scored_cells import check_scored
from scperturbrl.data.scoring.selection import best_of, effective_share, resample, selection_cost

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@pinned
@documented
def select(
    adata: AnnData | MuData,
    *,
    key: str = keys.GENERATED,
    n: int = 4,
    method: str = "best_of",
    temperature: float = 0.5,
    seed: Seed = 0,
    modality: str | None = None,
) -> pd.DataFrame:
    """Mark one of every `n` generated cells of a condition, preferring those with a high reward.

    Selection needs no training. The cost is that n times as many cells must be generated, and that the selected cells
    are less diverse. The loss of diversity is measured, printed and stored.

    Parameters
    ----------
    adata
        Cells scored by :func:`~scperturbrl.tl.score`: predicted ones, or annotated data with a layer `key`.
    key
        Name of the scores.
    n
        Candidates for each kept cell. 2 to 4 is mild.
    method
        ``"best_of"`` divides the candidates at random into groups of `n` and keeps the best of each. ``"importance"``
        draws without replacement, with odds ``exp(reward / temperature)``, so that cells of low reward can still be
        selected.
    temperature
        Temperature of ``"importance"``, in units of the reward. Large values select at random, small ones select the
        best.
    seed
        Seed or NumPy generator.
    {modality}

    Returns
    -------
    Table with one row per condition: ``n_candidates``, ``n_selected``, ``selected_by`` ("reward", or "chance" where no
    cell has a reward), mean ``reward_all`` and ``reward_selected``, ``spread_ratio`` (mean distance between kept cells
    relative to all candidates), ``variance_ratio`` (median over genes) and ``effective_share`` (effective sample size
    of the odds of ``"importance"``, as a share of the candidates). Writes

    - ``obs["<key>_selected"]``: True for chosen cells. Use ``adata[adata.obs["<key>_selected"]].copy()`` to keep them,
    - ``uns["selection_<key>"]``: settings and that table.

    Raises
    ------
    KeyError
        If there are no such scores.
    ValueError
        If they come from held-out cells (``reference="observed"``), because selecting by them
        makes any evaluation invalid; or if cells or their labels changed after scoring.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> made = spr.tl.predict(adata, list(adata.varm["perturbation_effect"])[:2], n_cells=40)
    >>> spr.tl.score(made, reference=adata)
    >>> cost = spr.tl.select(made, n=4)
    >>> cost["n_selected"].unique().tolist()
    [10]
    """
    adata = pick(adata, modality)
    check_choice("method", method, ["best_of", "importance"])
    check_positive(n=n, temperature=temperature)
    started = log.start("selecting cells")
    seed = resolve_seed(seed)
    reward, conditions = _rewards(adata, key)
    matrix = expression(adata, check_scored(adata, key, adata.uns[keys.score(key)]))
    selected, rows = np.zeros(adata.n_obs, dtype=bool), {}
    for number, (name, index) in enumerate(conditions.items()):
        rng, own = numpy_rng(seed, "selected cells", number), reward[index]
        chosen = best_of(own, n, rng) if method == "best_of" else resample(own, n, temperature, rng)
        selected[index[chosen]] = True
        rows[name] = _row(matrix, index, index[chosen], reward, temperature)
    table = pd.DataFrame.from_dict(rows, orient="index")
    params: dict[str, Any] = {"key": key, "n": n, "method": method, "temperature": temperature, "seed": seed}
    _report(table)
    write(
        adata,
        obs={keys.selected(key): selected},
        uns={keys.selection(key): {"params": params, "cost": table}},
    )
    log.finish(started, [f"obs[{keys.selected(key)!r}]", f"uns[{keys.selection(key)!r}]"])
    return table


def _rewards(adata: AnnData, key: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the reward of each cell, and the rows of each condition (without control cells)."""
    record = adata.uns.get(keys.score(key))
    if record is None or keys.reward(key) not in adata.obs:
        have = [name.removeprefix(keys.score("")) for name in adata.obsm if name.startswith(keys.score(""))]
        msg = f"`adata` has no scores named {key!r}. Call `tl.score` first.{near_matches(key, have)}"
        raise KeyError(msg)
    if record["uses_held_out_cells"]:
        msg = (
            f"The scores {key!r} compare with held-out cells (`reference='observed'`). Selecting by them would make "
            "every evaluation invalid; score with the training reference instead."
        )
        raise ValueError(msg)
    wrong = same_split(
        {f"The scores {key!r}": score_hash(adata, key), f"`layers[{key!r}]`": layer_hash(adata, key)}, split_hash(adata)
    )
    if wrong:
        msg = f"{wrong}, so held-out cells may have been used for the scores. Generate and score them again."
        raise ValueError(msg)
    columns = [str(column) for column in record["columns"]]
    labels = adata.obs[columns].astype(str).agg(" | ".join, axis=1)
    labels = labels[(adata.obs[columns[0]].astype(str) != str(record["control"])).to_numpy()]
    groups = {str(name): adata.obs_names.get_indexer(own.index) for name, own in labels.groupby(labels)}
    return adata.obs[keys.reward(key)].to_numpy(float), groups


def _row(matrix: Any, index: np.ndarray, chosen: np.ndarray, reward: np.ndarray, temperature: float) -> dict[str, Any]:
    def block(rows: np.ndarray) -> np.ndarray:
        values = matrix[rows]
        return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float32)

    known = np.isfinite(reward[index]).any()
    return {
        "n_candidates": len(index),
        "n_selected": len(chosen),
        "selected_by": "reward" if known else "chance",
        "reward_all": float(np.nanmean(reward[index])) if known else np.nan,
        "reward_selected": float(np.nanmean(reward[chosen])) if np.isfinite(reward[chosen]).any() else np.nan,
        **selection_cost(block, index, chosen),
        "effective_share": effective_share(reward[index], temperature),
    }


def _report(table: pd.DataFrame) -> None:
    by_reward = table[table["selected_by"] == "reward"]
    log.note(
        f"kept {table['n_selected'].sum()} of {table['n_candidates'].sum()} cells; reward "
        f"{by_reward['reward_all'].mean():.3f} -> {by_reward['reward_selected'].mean():.3f} at the cost of diversity: spread "
        f"{by_reward['spread_ratio'].mean():.3f}, variance {by_reward['variance_ratio'].mean():.3f} of all candidates'"
    )
    if len(by_reward) < len(table):
        chance = table.index[table["selected_by"] == "chance"].tolist()
        log.note(f"no reward in {len(chance)} conditions, whose cells were selected at random: {chance[:10]}")
