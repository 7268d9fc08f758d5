"""Evaluate predictions of held-out conditions beside baselines and a ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl._core import keys as slots
from scperturbrl._core import log
from scperturbrl._core.device import resolve_device
from scperturbrl._core.modality import pick
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.validate import check_log_normalised, check_positive, near_matches
from scperturbrl.data.cells import Cells
from scperturbrl.data.conditions import condition_table
from scperturbrl.data.evaluation import CEILING, Evaluation, Population
from scperturbrl.data.generation import draw_controls, generate_cells
from scperturbrl.data.registry import Setup, expression
from scperturbrl.data.stored_generator import StoredGenerator, check_genes, generator_keys, read_generator
from scperturbrl.data.stored_reference import cross_fit, read_reference
from scperturbrl.metrics.ceiling import scaled_score
from scperturbrl.metrics.registry import METRICS
from scperturbrl.verifiers.registry import DEFAULT, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.verifiers.base import Verifier

# metrics that a reward pulls along although they are not the reward itself
_RELATED = {
    "pearson_topk": {"pearson_delta", "pearson_delta_top", "direction_match"},
    "rmse_topk": {"l2", "mse", "mae"},
    "de_spearman": {"de_spearman", "de_overlap", "pearson_delta_top"},
}


def evaluate(
    adata: AnnData | MuData,
    *,
    keys: Sequence[str] | None = None,
    layers: Sequence[str] = (),
    predictions: Mapping[str, AnnData] | None = None,
    conditions: Sequence[str] | None = None,
    verifiers: Sequence[str | Verifier] = DEFAULT,
    n_cells: int = 500,
    max_cells: int = 500,
    key_added: str = slots.EVALUATION,
    device: str | torch.device = "auto",
    seed: Seed = 0,
    modality: str | None = None,
) -> pd.DataFrame:
    """Evaluate generators and anybody's predicted cells on held-out conditions, beside baselines and a ceiling.

    Always in the table: ``control`` (nothing happens), ``perturbed_mean``, ``matching_mean`` (same perturbation in other
    contexts), ``additive`` and ``additive_ridge``, all from training conditions and given as shifted control cells;
    and ``split_half``, one half of the real cells as a prediction of the other, which is as good as an experiment of that
    size allows. Verifier scores are computed against the *observed* held-out cells, by references that a real cell
    did not help to define.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.reference`.
    keys
        Generators to evaluate; all that `adata` has by default. They generate `n_cells` per condition from the same control
        cells and noise.
    layers
        Layers of predicted cells, whoever made them; row i is taken as a cell of the condition of row i.
    predictions
        Name to AnnData of predicted cells, with the genes and the declared columns of `adata`.
    conditions
        Names of conditions; the test conditions by default.
    verifiers
        Verifiers to score with.
    n_cells
        Cells generated per condition.
    max_cells
        Cap for distances between cells and for scoring.
    key_added
        Slot of the table in ``uns``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    seed
        Seed or NumPy generator.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    Tidy table, also in ``uns[key_added]``, one row a model, condition and metric:

    - ``model``, ``kind`` (generator, prediction, baseline, ceiling), ``condition``, ``metric``, ``value``,
    - ``scaled``: 0 as good as ``perturbed_mean``, 1 as good as ``split_half``, not clipped,
    - ``role``: ``rewarded``, ``related`` or ``held-out``, by what the evaluated generators were rewarded with,
    - ``n_cells``: predicted cells.

    Metrics are those of :data:`scperturbrl.metrics.METRICS` and ``score_<verifier>``, the mean raw score.
    :func:`scperturbrl.get.evaluation` summarises the table.

    Raises
    ------
    KeyError
        If a generator, layer or condition does not exist, or a prediction lacks a condition.
    ValueError
        If there is nothing to evaluate, or predicted cells have other genes or are not log-normalised.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> table = spr.tl.evaluate(adata, n_cells=50)
    >>> sorted(table["kind"].unique())
    ['baseline', 'ceiling', 'generator']
    """
    adata = pick(adata, modality)
    check_positive(n_cells=n_cells, max_cells=max_cells)
    started = log.start("evaluating held-out conditions")
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    wanted = _conditions(cells, conditions)
    read_reference(adata, cells)
    params = {**adata.uns[slots.SETUP]["reference"]["params"], "seed": resolve_seed(seed)}
    everything = np.ones(len(cells.codes), dtype=bool)
    fitted = cross_fit(adata, cells, everything, wanted, resolve(verifiers), params)
    generators = {key: read_generator(adata, key) for key in (generator_keys(adata) if keys is None else keys)}
    others = {name: _prediction(name, other, cells, setup) for name, other in (predictions or {}).items()}
    for layer in layers:
        check_log_normalised(expression(adata, layer), where=f"`layers[{layer!r}]`")
    options = {"n_cells": n_cells, "seed": params["seed"], "device": resolve_device(device)}
    predict = _populations(adata, cells, generators, layers, others, options)
    table = Evaluation(cells, wanted, fitted, max_cells, params["seed"]).run(predict)
    table = _with_scaled(table).assign(role=_roles(table["metric"], generators))
    table.index = table.index.astype(str)
    adata.uns[key_added] = table
    log.finish(started, [f"uns[{key_added!r}]"])
    return table


def _conditions(cells: Cells, conditions: Sequence[str] | None, *, min_cells: int = 6) -> list[str]:
    if conditions is None:
        found = cells.conditions(slots.TEST, min_cells=min_cells)
        if not found:
            msg = f"No test condition has {min_cells} cells. Hold some out with `pp.split`, or name `conditions`."
            raise ValueError(msg)
        return found
    for name in conditions:
        if name not in cells.table.index:
            msg = f"There is no condition {name!r}.{near_matches(name, cells.table.index)}"
            raise KeyError(msg)
    return list(conditions)


def _prediction(name: str, other: AnnData, cells: Cells, setup: Setup) -> tuple[Any, np.ndarray]:
    """Expression and condition names of an AnnData of predicted cells."""
    check_genes(list(cells.genes), other.var_names)
    matrix = expression(other, None)
    check_log_normalised(matrix, where=f"`predictions[{name!r}].X`")
    table, codes = condition_table(other, setup)
    return matrix, table.index.to_numpy()[codes]


def _populations(
    adata: AnnData,
    cells: Cells,
    generators: Mapping[str, StoredGenerator],
    layers: Sequence[str],
    predictions: Mapping[str, tuple[Any, np.ndarray]],
    options: dict[str, Any],
) -> Callable[[str], Iterator[Population]]:
    """Function from a condition to the populations that are to be evaluated."""

    def predict(condition: str) -> Iterator[Population]:
        table = cells.table.loc[[condition]]
        for key, stored in generators.items():
            n = options["n_cells"]
            controls = draw_controls(cells, [str(table["group"].iloc[0])] * n, None, seed=options["seed"])
            made = generate_cells(
                stored, cells, table, np.zeros(n, dtype=int), controls, seed=options["seed"], device=options["device"]
            )
            yield Population(key, "generator", made[0])
        rows = np.flatnonzero(cells.codes == cells.table.index.get_loc(condition))
        for layer in layers:
            yield Population(layer, "prediction", cells.block(rows, expression(adata, layer)))
        for name, (matrix, labels) in predictions.items():
            found = np.flatnonzero(labels == condition)
            if not len(found):
                msg = f"`predictions[{name!r}]` has no cells of condition {condition!r}.{near_matches(condition, np.unique(labels))}"
                raise KeyError(msg)
            yield Population(name, "prediction", cells.block(found, matrix))

    return predict


def _with_scaled(table: pd.DataFrame) -> pd.DataFrame:
    """Add the scaled score of every value, against the baseline and the ceiling of its condition."""
    wide = table.pivot_table(index=["condition", "metric"], columns="model", values="value", dropna=False)
    anchors = wide.loc[pd.MultiIndex.from_frame(table[["condition", "metric"]]), ["perturbed_mean", CEILING]].to_numpy()
    scaled = []
    for metric, value, (baseline, ceiling) in zip(table["metric"], table["value"], anchors, strict=True):
        # the mean response is the Systema reference itself, so its correlation is undefined: it knows nothing
        baseline = 0.0 if metric == "pearson_delta_systema" else baseline
        error = METRICS[metric].error if metric in METRICS else lambda score: -score
        scaled.append(scaled_score(error(value), baseline=error(baseline), ceiling=error(ceiling)))
    return table.assign(scaled=np.asarray(scaled, dtype=float))


def _roles(metrics: pd.Series, generators: Mapping[str, StoredGenerator]) -> pd.Series:
    """Label each metric by what any of the generators was rewarded with."""
    trained = [stored.params for stored in generators.values() if stored.params.get("method") == "rl_finetune"]
    rewarded, related = set(), set()
    for params in trained:
        rewarded |= {slots.score(name) for name in params["verifiers"]}
        related |= set().union(*(_RELATED.get(name, set()) for name in params["verifiers"]))
        if params["energy_steps"]:
            rewarded |= {"energy_distance"}
            related |= {"mmd"}
    label = lambda metric: "rewarded" if metric in rewarded else "related" if metric in related else "held-out"
    return metrics.map(label)
