"""Predict cells of measured and unmeasured conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anndata as ad
import numpy as np
import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.default_key import default_key
from scperturbrl._core.docs import documented
from scperturbrl._core.machine.device import resolve_device
from scperturbrl._core.machine.own_torch import own_torch
from scperturbrl._core.machine.threads import pinned
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import rewards, seen
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.serialize import to_uns, versions
from scperturbrl._core.validate import check_choice, check_positive
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.evaluation.mudata import join_cells
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.generation import generate_cells
from scperturbrl.data.generator.likeness import warn_unlike
from scperturbrl.data.generator.linear import linear_weights, magnitudes
from scperturbrl.data.generator.means import PREDICTED
from scperturbrl.data.generator.stored import condition_frame, read_generator, warn_leaked
from scperturbrl.data.generator.uncertainty import reliabilities, uncertainties
from scperturbrl.data.generator.wanted import wanted_conditions
from scperturbrl.data.screen.effect_trust import effect_trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.data.generator.stored import StoredGenerator


@own_torch
@pinned
@documented
def predict(
    adata: AnnData | MuData,
    conditions: Sequence[str] | str | None = None,
    *,
    n_cells: int = 200,
    key: str | None = None,
    covariates: Mapping[str, str] | None = None,
    dose: float | None = None,
    output: Literal["log", "counts"] = "log",
    library_size: Literal["condition", "control"] | float = "condition",
    as_mudata: bool = False,
    device: str | torch.device = "auto",
    seed: Seed = 0,
    modality: str | None = None,
) -> AnnData | MuData:
    r"""Generate new cells of measured or unmeasured conditions.

    Parameters
    ----------
    adata
        Annotated data with a generator and control cells.
    conditions
        Perturbation labels (``"A"``, ``"A+B"``) or names of conditions of `adata`; the test conditions by default. A
        label is predicted for every covariate combination that has control cells, unless `covariates` narrows it.
    n_cells
        Cells per condition.
    key
        Which generator; by default the newest post-trained generator, else ``"generator"``.
    covariates
        Covariate values to predict for, such as ``{"cell_type": "B"}``.
    dose
        Dose of the perturbation, in the unit of the dose column. Labels need a dose if doses were declared; names of
        conditions include it. A dose outside of the measured range is an extrapolation, and a warning says so.
    output
        What ``X`` holds: ``"log"`` (log1p-normalised) or ``"counts"`` (whole counts).
    library_size
        Depth of the generated cells, see :func:`~scperturbrl.tl.generate`.
    as_mudata
        Return a MuData that also has the observed cells, and the pathway activity of every cell. This needs `output`
        ``"log"`` and a pathway network.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    seed
        Seed or NumPy generator.
    {modality}

    Returns
    -------
    A new AnnData of ``n_cells`` cells per condition with the genes of `adata`, its perturbation, covariate and dose
    columns, ``obs["origin"] == "generated"``, ``obs["<key>_source"]`` (the control cell from which each was generated)
    and ``obs["condition"]``. ``obs["split"]`` is that of the condition, "test" for an unmeasured one.
    ``uns["prediction"]`` holds the settings and one row for each condition:

    - ``parts_seen``: number of its perturbations in training,
    - ``seen``: whether the generator was trained or selected on the condition itself,
    - ``linear_weight``: share of the linear part in the mean. Its accuracy on validation conditions is in
      ``uns[key]["fitted"]["linear"]``,
    - ``magnitude``: factor of the effect, the ratio of observed to predicted effects of validation combinations,
    - ``uncertainty``: 0 for trained conditions, else :math:`\sqrt{(\lVert f - l \rVert^2 + u e^2) / G}`, a root mean
      square over the G genes in log-normalised units. f and l are the means that the flow and the linear part predict,
      u is the number of unseen perturbations, and :math:`e^2` the squared error of the linear part for a left-out
      perturbation. It ranks conditions; it is not an interval,
    - ``reliability``: share of the effects of left-out perturbations, or contexts, that the linear part explained. It
      is 0, with a warning, if the effect cannot be predicted, and NaN for other conditions. For contexts the error is
      compared with that of the plain mean of the effects in the other contexts; a value below 0 means that this mean is
      closer,
    - ``expected_error``: median root mean square error over genes of training conditions that were left out and predicted
      in the same way; for a measured condition, the sampling error of its mean. ``error_low`` to ``error_high`` contain
      80 % of the errors. All are NaN if fewer than eight conditions (or three contexts) could be left out,
    - ``support``: "supported" if the linear part explained at least half of such effects, "extrapolating" if at least a
      tenth, else "unsupported".

    ``anndata.concat([adata, new])`` joins the new cells to `adata`; ``obs["origin"]`` distinguishes them. The result is
    for plots and other tools. Functions of this package that need observed cells refuse it.

    With `as_mudata`, a MuData of the observed cells (``obs["origin"] == "observed"``) followed by the generated ones,
    with the modalities

    - ``"rna"``: log-normalised expression of all cells, over the genes of `adata`,
    - ``"pathway"``: the activity of every pathway in every cell, the t of decoupler's univariate linear model of the
      cell's effect against the mean of its control cells. A pathway named like a gene gets the suffix ``_activity``.

    Raises
    ------
    KeyError
        If a perturbation was not trained on and has no features, so that the prediction would be random. If there is no
        pathway network for `as_mudata`.
    ValueError
        If there are no control cells with the covariates, a dose is missing, not declared or not above 0, or `output`
        is ``"counts"`` with `as_mudata`.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> spr.tl.predict(adata, n_cells=10).obs["origin"].unique().tolist()
    ['generated']
    """
    adata = pick(adata, modality)
    key = default_key(adata, key)
    check_positive(n_cells=n_cells)
    check_choice("output", output, ["log", "counts"])
    if as_mudata:
        _check_joinable(adata, output)
    started = log.start("predicting cells")
    seed = resolve_seed(seed)
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    # means are computed once, because both cells and uncertainties need them
    cells.once[PREDICTED] = {}
    stored = read_generator(adata, key)
    table = wanted_conditions(conditions, cells, setup, dict(covariates) if covariates else None, dose)
    if not len(table):
        msg = "There is nothing to predict: no test conditions. Name some in `conditions`."
        raise ValueError(msg)
    warn_leaked(key, stored, cells.split_of(), table.index)
    warn_unlike({key: stored}, cells)
    codes = np.repeat(np.arange(len(table)), n_cells)
    controls = draw_controls(cells, table["group"].to_numpy()[codes].tolist(), None, seed=seed)
    own = resolve_device(device)
    made = generate_cells(
        stored, cells, table, codes, controls, output=output, library_size=library_size, seed=seed, device=own
    )
    new = ad.AnnData(
        made,
        obs=predicted_observations(adata.obs_names, setup, table, codes, controls, key, seed, cells.split_of()),
        var=pd.DataFrame(index=adata.var_names),
    )
    table = table.assign(n_cells=n_cells)
    new.uns["prediction"] = {
        "rewarded": to_uns(rewards(stored.params)),
        "params": to_uns(
            {
                "key": key,
                "seed": seed,
                "output": output,
                "n_cells": n_cells,
                "versions": versions(),
                "split_hash": stored.made_under(),
            }
        ),
        "conditions": (told := _told(stored, cells, table, seed, own)),
    }
    _tell_unlearnt(told.index[told["reliability"] == 0])
    if not as_mudata:
        log.finish(started, ["a new AnnData"])
        return new
    joined = join_cells(adata, cells, setup, new, table["group"].to_numpy()[codes])
    log.finish(started, [f"a new MuData with the modalities {keys.RNA!r} and {keys.PATHWAY!r}"])
    return joined


def _told(stored: StoredGenerator, cells: Cells, table: pd.DataFrame, seed: int, device: torch.device) -> pd.DataFrame:
    """Return what is known about each predicted condition, and how reliable its prediction is."""
    return (
        condition_frame(table, {}, stored.vocabulary)
        .drop(columns=keys.SPLIT)
        .assign(
            seen=table.index.isin(list(seen(stored.conditions))),
            linear_weight=linear_weights(stored, cells, table, seed=seed, device=device),
            magnitude=magnitudes(stored, table),
            uncertainty=uncertainties(stored, cells, table, seed=seed, device=device),
            reliability=reliabilities(stored, table),
            **effect_trust(stored, cells, table),
        )
    )


def _tell_unlearnt(names: pd.Index) -> None:
    if len(names):
        log.tell(
            f"The generator cannot predict the effect of {len(names)} conditions ({', '.join(map(repr, names[:3]))}): "
            "when such perturbations were left out of training, predictions were not better than no change. Their "
            "cells are like control cells, except for the targeted gene."
        )


def _check_joinable(adata: AnnData, output: str) -> None:
    if output != "log":
        msg = f"`output` is {output!r}, but observed cells are log-normalised. Leave it at 'log' with `as_mudata=True`."
        raise ValueError(msg)
    if keys.PATHWAY_NETWORK not in adata.uns:
        msg = f"`uns` has no {keys.PATHWAY_NETWORK!r}. Call `scperturbrl.pp.pathway_network(adata, network)` first."
        raise KeyError(msg)


def predicted_observations(
    names: pd.Index,
    setup: Setup,
    table: pd.DataFrame,
    codes: np.ndarray,
    controls: np.ndarray,
    key: str,
    seed: int,
    split: Mapping[str, str],
) -> pd.DataFrame:
    """Return ``obs`` of generated cells: condition, split, and the control cell (of `names`) of each."""
    rows = table.iloc[codes]
    columns = {setup.perturbation_key: pd.Categorical(rows["perturbation"])}
    for i, name in enumerate(setup.covariate_keys):
        columns[name] = pd.Categorical(rows["covariates"].str[i])
    if setup.dose_key:
        columns[setup.dose_key] = rows["dose"].to_numpy(float)
    columns["condition"] = pd.Categorical(rows.index)
    # an unmeasured condition counts as held out
    columns[keys.SPLIT] = pd.Categorical([split.get(name, keys.TEST) for name in rows.index])
    columns[keys.ORIGIN] = pd.Categorical([keys.GENERATED] * len(rows))
    columns[keys.source(key)] = names.to_numpy()[controls]
    # names must be unique, because cells of several predictions are often joined
    number = rows.groupby(level=0, sort=False).cumcount()
    index = [f"{keys.GENERATED}-{name}-{key}-{seed}-{i}" for name, i in zip(rows.index, number, strict=True)]
    return pd.DataFrame(columns, index=index)
