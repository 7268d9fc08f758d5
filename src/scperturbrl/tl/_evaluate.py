"""Evaluate predictions of held-out conditions, together with baselines and ceilings."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scperturbrl._core import keys as slots
from scperturbrl._core import log
from scperturbrl._core.default_key import check_key
from scperturbrl._core.docs import documented
from scperturbrl._core.machine.device import resolve_device
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.machine.threads import pinned
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import (
    check_predictions_held_out,
    hashes_of,
    held_out_generators,
    seen_rows,
    split_hash,
    warn_old_layers,
)
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.validate import check_choice, check_positive
from scperturbrl._core.write import write
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.depth import at_depths
from scperturbrl.data.cells.network import network_hash
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.evaluation.compared_depth import compared_depths
from scperturbrl.data.evaluation.evaluated import evaluated_conditions
from scperturbrl.data.evaluation.evaluation import Evaluation
from scperturbrl.data.evaluation.gene_sets import gene_sets
from scperturbrl.data.evaluation.metric_calibration import (
    CEILING,
    calibrate_metrics,
    with_calibration,
    with_scaled,
)
from scperturbrl.data.evaluation.models import Models, check_model_names, with_controls
from scperturbrl.data.evaluation.predictions import check_predictions, read_layer, read_prediction, warn_measured
from scperturbrl.data.evaluation.roles import metric_roles, trained_with
from scperturbrl.data.generator.likeness import warn_unlike
from scperturbrl.data.generator.stored import generator_keys, read_generator
from scperturbrl.data.reference.stored import check_reference, cross_fit
from scperturbrl.metrics.metric import OWN_ENGINE
from scperturbrl.metrics.registry import METRICS
from scperturbrl.verifiers.registry import DEFAULT, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.verifiers.base import Verifier


@own_torch
@pinned
@documented
def evaluate(
    adata: AnnData | MuData,
    *,
    keys: Sequence[str] | None = None,
    layers: Sequence[str] = (),
    predictions: Mapping[str, AnnData] | None = None,
    conditions: Sequence[str] | str | None = None,
    networks: Mapping[str, pd.DataFrame] | None = None,
    verifiers: Sequence[str | Verifier] = DEFAULT,
    n_cells: int = 2000,
    max_cells: int = 500,
    depth: Literal["equal", "raw"] = "equal",
    key_added: str = slots.EVALUATION,
    device: str | torch.device = "auto",
    seed: Seed = 0,
    modality: str | None = None,
) -> pd.DataFrame:
    """Evaluate generators and other predictions on held-out conditions, together with baselines and ceilings.

    The table always contains these models in addition to the requested ones:

    - Baselines, which use training conditions only and predict shifted control cells: ``control`` (no effect),
      ``perturbed_mean``, ``matching_mean`` (the same perturbation in other contexts), ``nearest_condition``,
      ``additive``, ``additive_ridge`` and ``combination_ridge``.
    - ``context_line``, if training has several contexts. ``nearest_dose`` and ``interpolated_dose``, if there are doses:
      the same perturbation at the nearest dose, and interpolated along the log dose.
    - The parent of a post-trained generator, and the parent with extra training, if `adata` has it.
    - Two ceilings. ``split_half`` takes one half of the real cells as the prediction of the other half.
      ``interpolated_duplicate`` is the same half, shrunk towards the mean response by its sampling noise.

    Verifiers score all cells against references of the *observed* held-out cells. No real cell is scored against a
    reference that was computed with it.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.reference`.
    keys
        Generators to evaluate; all that `adata` has by default. All generate from the same control cells and noise.
    layers
        Layers of predicted cells. Row i is treated as a cell of the condition of row i.
    predictions
        Predicted cells by model name, as AnnData with the genes and the declared columns of `adata`.
    conditions
        Names of conditions; the test conditions by default. A perturbation label (``"A+B"`` or ``"B+A"``) stands for all
        measured conditions with that perturbation. Each condition is evaluated once.
    networks
        More gene sets by name, such as ``{"hallmark": table}``, with columns ``source``, ``target`` and ``weight``.
        Their enrichment is compared like that of the pathway network: ``<name>_correlation``, ``<name>_recovery``.
    verifiers
        Verifiers to score with.
    n_cells
        Cells generated per condition, from the control cells that baselines shift. The mean is over all of them. Metrics
        of populations use at most one cell from each control cell, because copies would count as near neighbours.
    max_cells
        Largest number of cells of a condition that are compared and scored. Means are over all cells.
    depth
        ``"equal"`` compares all cells at one sequencing depth, because depth alone changes log-normalised means. In
        each control group this is the smallest depth of the measured conditions, the controls and the predicted cells,
        but at least a quarter of the controls' depth. Deeper cells are thinned: each count is kept with a fixed
        probability. Generators use the library sizes of the observed cells at that depth. Cells are not thinned if the
        depth differs from the controls' by at most a tenth or by chance, or if counts cannot be recovered. ``"raw"``
        leaves cells unchanged.
    key_added
        Slot of the table in ``uns``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    seed
        Seed or NumPy generator.
    {modality}

    Returns
    -------
    Tidy table, also in ``uns[key_added]``, with one row for each model, condition and metric:

    - ``model``, ``kind`` (generator, prediction, baseline, ceiling), ``condition``, ``covariates``, ``metric``,
      ``value``,
    - ``scaled``: 0 is as good as ``perturbed_mean``, 1 as good as ``split_half``; not clipped,
    - ``role``: ``rewarded``, ``related`` or ``held-out``, by the rewards of the generators behind the table and the scores
      by which predicted cells were selected,
    - ``calibrated``, ``told_apart``, ``dynamic_range``: whether the metric distinguishes ``split_half`` from
      ``perturbed_mean`` on these data, in which share of the conditions, and by how much; see
      :func:`scperturbrl.get.metric_calibration`,
    - ``n_parts``, ``parts_seen``: number of parts of the condition, and of those that were measured alone in training,
    - ``n_cells``, ``n_observed``: predicted and observed cells,
    - ``seed``, ``engine``, ``version``: seed, package and version that computed the value,
    - ``seen``: whether the generator was trained or selected on the condition; for other models, whether the condition
      is not in the test set,
    - ``split_hash``: hash of the split of the evaluation,
    - ``generator_hash``: hash of the weights of the generator, empty for other models.

    Metrics are those of :data:`scperturbrl.metrics.METRICS` and ``score_<verifier>``, the mean raw score.
    :func:`scperturbrl.get.evaluation` summarises the table, :func:`scperturbrl.get.held_out` summarises its held-out
    metrics only, and :func:`scperturbrl.get.differences` compares two models with a paired bootstrap over conditions.

    Raises
    ------
    KeyError
        If a generator, layer or condition does not exist, or a prediction lacks a condition.
    ValueError
        If there is nothing to evaluate, there are no perturbed training cells, a model was trained on a test condition, two
        models share a name, a model has the name of a baseline or ceiling, a network has no set of five measured genes, or
        predicted cells have other genes, another total or are not log-normalised.

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
    check_choice("depth", depth, ["equal", "raw"])
    check_key(adata, key_added, slots.EVALUATION)
    check_predictions({} if predictions is None else predictions)
    started = log.start("evaluating held-out conditions")
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    wanted = evaluated_conditions(cells, setup, conditions)
    check_reference(adata, cells)
    params = {**adata.uns[slots.SETUP]["reference"]["params"], "seed": resolve_seed(seed)}
    everything = np.ones(len(cells.codes), dtype=bool)
    names = generator_keys(adata) if keys is None else with_controls(adata, keys)
    check_model_names(names, layers, list(predictions or {}))
    generators = held_out_generators({key: read_generator(adata, key) for key in names}, cells.split_of(), wanted, keys)
    check_predictions_held_out(adata, predictions or {}, layers, cells.split_of(), wanted)
    warn_old_layers(adata, layers)
    others = {name: read_prediction(name, other, cells, setup, wanted) for name, other in (predictions or {}).items()}
    others |= {layer: read_layer(adata, layer, cells, wanted) for layer in layers}
    warn_measured(others, cells, wanted)
    warn_unlike(generators, cells)
    depths = compared_depths(cells, others, wanted) if depth == "equal" else None
    compared = cells if depths is None else at_depths(cells, depths)
    fitted = cross_fit(adata, compared, everything, wanted, resolve(verifiers), params)
    models = Models(cells, generators, others, depths, n_cells, max_cells, params["seed"], resolve_device(device))
    sets = gene_sets(adata, networks or {})
    evaluation = Evaluation(compared, wanted, fitted, max_cells, params["seed"], sets)
    table = with_scaled(evaluation.run(models.predict))
    calibration = calibrate_metrics(table[table["model"] == CEILING], pd.DataFrame(evaluation.mean_response))
    table = with_calibration(table, calibration)
    trained = trained_with(adata, generators, layers, predictions or {})
    used = {name: network_hash(matrix) for name, matrix in sets.items()}
    table = table.assign(
        role=table["metric"].map(metric_roles(table["metric"].unique(), trained, used)),
        seen=seen_rows(table, generators, cells.split_of()),
        seed=params["seed"],
        split_hash=split_hash(adata),
        generator_hash=table["model"].map(hashes_of(adata, table["model"], generators)),
        **_engines(table["metric"]),
    ).rename(index=str)
    write(adata, uns={key_added: table})
    log.finish(started, [f"uns[{key_added!r}]"])
    return table


def _engines(metrics: pd.Series) -> dict[str, list[str]]:
    engines = [METRICS[name].engine if name in METRICS else OWN_ENGINE for name in metrics]
    versions = {name: version(name) for name in set(engines)}
    return {"engine": engines, "version": [versions[name] for name in engines]}
