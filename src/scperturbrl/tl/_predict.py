"""Predict cells of conditions that may never have been measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anndata as ad
import numpy as np
import pandas as pd

from scperturbrl._core import keys, log
from scperturbrl._core.default_key import default_key
from scperturbrl._core.device import resolve_device
from scperturbrl._core.modality import pick
from scperturbrl._core.own_torch import own_torch
from scperturbrl._core.provenance import seen
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.serialize import to_uns, versions
from scperturbrl._core.threads import pinned
from scperturbrl._core.validate import check_choice, check_positive
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.evaluation.mudata import join_cells
from scperturbrl.data.generator.controls import draw_controls
from scperturbrl.data.generator.generation import generate_cells
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


@own_torch
@pinned
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
    r"""Generate new cells of the conditions asked for.

    Parameters
    ----------
    adata
        Annotated data with a generator and the control cells to start from.
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
        Dose of the perturbation, in the unit of the dose column. Labels need one if doses were declared (names of conditions have
        theirs), and take none otherwise. Outside of the measured doses it is an extrapolation, and a warning says so.
    output
        What ``X`` holds: ``"log"`` (log1p-normalised) or ``"counts"`` (whole counts).
    library_size
        Depth of the generated cells. ``"condition"``: that of the training cells of the condition; of a condition without any
        the control cells' depth, times the ratio that trained conditions with the same perturbation, or else all, show. ``"control"``: that of
        the control cells. A number: so many counts a cell.
    as_mudata
        Return a MuData with the observed cells too and the pathway activity of every cell. Needs `output` ``"log"`` and a
        pathway network.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    seed
        Seed or NumPy generator.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    A new AnnData of ``n_cells`` cells per condition with the genes of `adata`, its perturbation, covariate and dose columns,
    ``obs["origin"] == "generated"``, ``obs["<key>_source"]`` (the control cell each started from) and
    ``obs["condition"]``. ``uns["prediction"]`` tells how it was made and lists the conditions with ``parts_seen``,
    the number of their perturbations that training saw, ``seen``, whether the generator was trained on the condition itself or chosen by it, ``linear_weight``, the share of the linear part in their
    mean (how well that predicted validation conditions is in ``uns[key]["params"]["linear"]``), ``magnitude``, the factor of their
    effect by which validation combinations fell short of what was predicted, and ``uncertainty``, how far from
    training they are: 0 for conditions that were trained on, else
    :math:`\sqrt{(\lVert f - l \rVert^2 + u e^2) / G}`, a root mean square over the G genes in log-normalised units. f and l are
    the means that the flow and the linear part predict, which agree near what they were fitted to; u is the number of
    perturbations that training never saw, and :math:`e^2` the squared error of the linear part for a perturbation left out.
    It ranks conditions; it is no interval. ``reliability`` is the share of the effects that the linear part explained for perturbations, or
    contexts, left out of training; 0 where nothing that was learnt predicts them, which is said, and NaN for other conditions. ``expected_error`` is the
    root mean square error over genes of the predicted effect, the median of training conditions that were left out whole and predicted in the same
    way; ``error_low`` to ``error_high`` hold 80 % of them. They are NaN where fewer than eight could be left out (or contexts, three); of a measured
    condition the first is the sampling error of its mean. ``support`` says in a word whether the straight line explained such effects: "supported" at least
    half of them, "extrapolating" a tenth, "unsupported" less. ``obs["split"]`` is that of the condition, "test" for one that was not measured.

    ``anndata.concat([adata, new])`` joins the new cells to `adata`, told apart by ``obs["origin"]``. It is for plots and other
    tools: the verbs of this package learn from observed cells, and refuse it.

    With `as_mudata` a MuData of the observed cells (``obs["origin"] == "observed"``) followed by these, with the modalities

    - ``"rna"``: log-normalised expression of both, over the genes of `adata`,
    - ``"pathway"``: the activity of every pathway in every cell, the t of decoupler's univariate linear model of the
      cell's effect against the mean of its control cells. A pathway named like a gene gets the suffix ``_activity``.

    Raises
    ------
    KeyError
        If a perturbation was not trained on and nothing else is known of it: such a prediction would be random. If
        there is no pathway network for `as_mudata`.
    ValueError
        If there are no control cells with the covariates, a dose is missing, not declared or not above 0, or counts are to be
        joined with log-normalised cells.

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
    # the cells and their uncertainty ask for the same means
    cells.once[PREDICTED] = {}
    stored = read_generator(adata, key)
    table = wanted_conditions(conditions, cells, setup, dict(covariates) if covariates else None, dose)
    if not len(table):
        msg = "There is nothing to predict: no test conditions. Name some in `conditions`."
        raise ValueError(msg)
    warn_leaked(key, stored, cells.split_of(), table.index)
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
        "conditions": condition_frame(table, {}, stored.vocabulary)
        .drop(columns=keys.SPLIT)
        .assign(
            seen=table.index.isin(list(seen(stored.conditions))),
            linear_weight=linear_weights(stored, table),
            magnitude=magnitudes(stored, table),
            uncertainty=uncertainties(stored, cells, table, seed=seed, device=own),
            reliability=(reliability := reliabilities(stored, table)),
            **effect_trust(stored, cells, table),
        ),
    }
    _tell_unlearnt(table.index[reliability == 0])
    if not as_mudata:
        log.finish(started, ["a new AnnData"])
        return new
    joined = join_cells(adata, cells, setup, new, table["group"].to_numpy()[codes])
    log.finish(started, [f"a new MuData with the modalities {keys.RNA!r} and {keys.PATHWAY!r}"])
    return joined


def _tell_unlearnt(names: pd.Index) -> None:
    if len(names):
        log.tell(
            f"Nothing that was learnt tells the effect of {len(names)} conditions ({', '.join(map(repr, names[:3]))}): left out of training, such "
            "perturbations were not predicted better than by no change. Their cells are like control cells, but for the gene that is targeted."
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
    """Columns of ``obs`` of generated cells: what they are, and which of the control cells `names` each started from."""
    rows = table.iloc[codes]
    columns = {setup.perturbation_key: pd.Categorical(rows["perturbation"])}
    for i, name in enumerate(setup.covariate_keys):
        columns[name] = pd.Categorical(rows["covariates"].str[i])
    if setup.dose_key:
        columns[setup.dose_key] = rows["dose"].to_numpy(float)
    columns["condition"] = pd.Categorical(rows.index)
    # a condition that nobody measured is as good as held out
    columns[keys.SPLIT] = pd.Categorical([split.get(name, keys.TEST) for name in rows.index])
    columns[keys.ORIGIN] = pd.Categorical([keys.GENERATED] * len(rows))
    columns[keys.source(key)] = names.to_numpy()[controls]
    # the same name only for the same cell: cells of two predictions are often joined
    number = rows.groupby(level=0, sort=False).cumcount()
    index = [f"{keys.GENERATED}-{name}-{key}-{seed}-{i}" for name, i in zip(rows.index, number, strict=True)]
    return pd.DataFrame(columns, index=index)
