"""Predict with a saved generator from the control cells of another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.machine.device import resolve_device
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import rewards
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.serialize import to_uns, versions
from scperturbrl._core.validate import check_choice, check_fraction, check_positive
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.depth import generated_units
from scperturbrl.data.generator.generation import generate_cells
from scperturbrl.data.generator.linear import linear_weights, magnitudes
from scperturbrl.data.generator.stored import condition_frame, load_stored
from scperturbrl.data.generator.uncertainty import reliabilities, uncertainties
from scperturbrl.data.transfer.cells import in_genes_of, likeness, own_cells
from scperturbrl.data.transfer.conditions import conditions_elsewhere
from scperturbrl.data.transfer.genes import GeneMatch, match_genes
from scperturbrl.tl._predict import predicted_observations

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.data.generator.stored import StoredGenerator


MIN_GENES = 0.8
_LEAST_CORRELATION, _MOST_SCALE = 0.5, 3.0


def predict_elsewhere(
    adata: AnnData | MuData,
    path: str | os.PathLike[str],
    *,
    perturbations: Sequence[str] | str | None = None,
    n_cells: int = 200,
    min_genes: float = MIN_GENES,
    dose: float | None = None,
    layer: str | None = None,
    output: Literal["log", "counts"] = "log",
    library_size: Literal["condition", "control"] | float = "condition",
    device: str | torch.device = "auto",
    seed: Seed = 0,
    modality: str | None = None,
) -> AnnData:
    r"""Predict perturbed cells from the control cells of another data set, with a saved generator.

    Genes are matched by name, in any order. Genes that `adata` lacks are set to their mean over the training cells, and
    are predicted like the others. A context with the name of a training context is treated as that context. Effects in
    any other context come from the :term:`context line` and the :term:`context ridge`, which use its control cells.

    Parameters
    ----------
    adata
        Annotated data with control cells, log-normalised as the training cells were. It needs no setup. If it has the
        perturbation column of the generator, cells with the control label are the controls; otherwise all cells are.
    path
        Directory from :func:`~scperturbrl.tl.save_generator`.
    perturbations
        Labels (``"A"``, ``"A+B"``), each predicted in every context that has control cells; by default all single
        perturbations of training.
    n_cells
        Cells per condition.
    min_genes
        Smallest share of the genes of the generator that `adata` must have.
    dose
        Dose of the perturbations, needed if the generator was fitted with doses.
    layer
        Layer with the expression of the control cells; ``X`` by default.
    output
        What ``X`` holds: ``"log"`` (log1p-normalised) or ``"counts"`` (whole counts).
    library_size
        Depth of the generated cells, see :func:`~scperturbrl.tl.predict`.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    seed
        Seed or NumPy generator.
    modality
        Modality of a MuData; by default its only one.

    Returns
    -------
    A new AnnData over the genes of the generator, with ``obs`` as in :func:`~scperturbrl.tl.predict`.
    ``var["measured"]`` marks the genes that `adata` has. ``uns["prediction"]["conditions"]`` has one row per condition
    with ``parts_seen``, ``linear_weight``, ``uncertainty`` and ``reliability`` as in :func:`~scperturbrl.tl.predict`,
    and ``new_context``. ``uns["prediction"]["match"]`` holds

    - ``genes``: share of the generator's genes that were found,
    - ``signal``: share of the squared loadings of the components on these genes,
    - ``missing``: names of the missing genes,
    - ``correlation``, ``scale``: correlation of the mean control profile with the mean training profile, and median
      ratio of the rates of well-expressed genes. A warning is given for a correlation below 0.5, or a scale off by a
      factor of 3.

    Raises
    ------
    FileNotFoundError
        If the directory or one of its files is missing.
    KeyError
        If a covariate of the generator is not a column of ``obs``, or a perturbation has neither training cells nor
        features.
    ValueError
        If too many genes are missing, there are no control cells, expression is not log-normalised, or the dose is
        missing.

    Examples
    --------
    >>> import tempfile
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=5, width=32, n_latent=8)
    >>> others = spr.datasets.toy(seed=1)
    >>> others = others[others.obs["perturbation"] == "control", others.var_names[:4:-1]].copy()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spr.tl.save_generator(adata, f"{folder}/model")
    ...     new = spr.tl.predict_elsewhere(others, f"{folder}/model", perturbations="GENE014+GENE056", n_cells=10)
    >>> new.shape, round(new.uns["prediction"]["match"]["genes"], 2)
    ((10, 60), 0.92)
    """
    adata = pick(adata, modality)
    check_positive(n_cells=n_cells)
    check_fraction(min_genes=min_genes)
    check_choice("output", output, ["log", "counts"])
    started, seed = log.start(f"predicting with {path}"), resolve_seed(seed)
    stored = load_stored(path)
    setup = _setup(stored, path)
    match = match_genes(stored, adata.var_names, least=min_genes)
    measured = own_cells(adata, setup, layer)
    like = likeness(stored, measured, match)
    _tell(match, like)
    cells = in_genes_of(stored, measured, match, seed=seed)
    table = conditions_elsewhere(stored, cells, setup, perturbations, dose)
    codes = np.repeat(np.arange(len(table)), n_cells)
    controls = draw_controls(cells, table["group"].to_numpy()[codes].tolist(), None, seed=seed)
    unit = generated_units(stored, measured, table, codes, controls, library_size)
    own = resolve_device(device)
    how: dict[str, Any] = {"output": output, "unit": unit, "seed": seed, "device": own}
    made = generate_cells(stored, cells, table, codes, controls, **how)
    key = keys.GENERATOR_RL if stored.params["method"] == "rl_finetune" else keys.GENERATOR
    obs = predicted_observations(cells.names, setup, table, codes, controls, key, seed, {})
    new = ad.AnnData(made, obs=obs, var=pd.DataFrame({"measured": match.place >= 0}, index=stored.genes))
    frame = condition_frame(table.assign(n_cells=n_cells), {}, stored.vocabulary).assign(
        new_context=~table["group"].isin(stored.vocabulary.groups),
        linear_weight=linear_weights(stored, cells, table, seed=seed, device=own),
        magnitude=magnitudes(stored, table),
        uncertainty=uncertainties(stored, cells, table, seed=seed, device=own),
        reliability=reliabilities(stored, table),
    )
    new.uns["prediction"] = {
        "rewarded": to_uns(rewards(stored.params)),
        "params": to_uns(
            {"key": key, "path": path, "seed": seed, "output": output, "n_cells": n_cells, "versions": versions()}
        ),
        "conditions": frame,
        "match": {"genes": match.share, "signal": match.signal, "missing": np.array(match.missing, dtype=str), **like},
    }
    log.finish(started, ["a new AnnData"])
    return new


def _setup(stored: StoredGenerator, path: str | os.PathLike[str]) -> Setup:
    record: dict[str, Any] | None = stored.params.get("setup")
    if record is None:
        msg = (
            f"{path} does not record the setup with which the generator was fitted. Fit and save it again with this "
            "version."
        )
        raise ValueError(msg)
    return Setup.read(record)


def _tell(match: GeneMatch, like: dict[str, float]) -> None:
    if match.missing:
        log.tell(
            f"{len(match.missing)} of {len(match.place)} genes of the generator are missing "
            f"({', '.join(match.missing[:3])}, ...); they account for "
            f"{1 - match.signal:.0%} of its input."
        )
    if like["correlation"] < _LEAST_CORRELATION:
        log.warn(
            f"The correlation of the mean control profile with the training cells is only {like['correlation']:.2f}: "
            "the generator was trained on different cells, so its predictions are unreliable."
        )
    if not 1 / _MOST_SCALE < like["scale"] < _MOST_SCALE:
        log.warn(
            f"Well-expressed genes are {like['scale']:.2g} times as high as in the training cells. Normalise to the "
            "same total (`target_sum`), computed over the same genes."
        )
