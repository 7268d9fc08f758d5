"""Rank perturbations by their predicted effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scperturbrl._core import keys, log
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import counted, generator_hash, split_hash
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.serialize import to_uns, versions
from scperturbrl._core.validate import check_fraction, check_positive
from scperturbrl._core.write import write
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.screen.candidates import (
    candidate_table,
    described_perturbations,
    perturbation_features,
    trained_perturbations,
)
from scperturbrl.data.screen.known import Known
from scperturbrl.data.screen.objective import build_objective
from scperturbrl.data.screen.population import EnergyFall
from scperturbrl.data.screen.real_values import real_values
from scperturbrl.data.screen.refine import CandidateCells, refine
from scperturbrl.screen.conformal import too_few
from scperturbrl.screen.kinds import MEASURED
from scperturbrl.screen.line import Line
from scperturbrl.screen.stream import predict_all
from scperturbrl.screen.table import Screen
from scperturbrl.screen.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import torch
    from anndata import AnnData
    from mudata import MuData

    from scperturbrl.data.screen.objective import Wanted


@documented
def screen(
    adata: AnnData | MuData,
    candidates: str | Sequence[str] | pd.DataFrame = "pairs",
    *,
    objective: Wanted | None = None,
    signature: Mapping[str, Sequence[str]] | None = None,
    towards: str | AnnData | None = None,
    like: str | None = None,
    reward: str | None = None,
    covariates: Mapping[str, str] | None = None,
    dose: float | None = None,
    embeddings: pd.DataFrame | None = None,
    key: str | None = None,
    n_refine: int = 20,
    n_cells: int = 200,
    top: int = 10,
    level: float = 0.8,
    device: str | torch.device = "auto",
    seed: Seed = 0,
    modality: str | None = None,
) -> None:
    """Rank measured and unmeasured perturbations by their predicted effects, with calibrated intervals.

    A linear model predicts all candidates: a combination ridge, a context line with a context ridge, and a map for unseen
    perturbations, fitted to the training cells. No generator is needed. If there is one, it generates cells of the `n_refine` most
    promising candidates. The intervals come from training conditions that were left out and predicted from the others.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.split`.
    candidates
        ``"singles"`` (all trained perturbations, and those with features), ``"pairs"`` (all pairs of trained
        perturbations), a list of labels (``"A+B"``) and names of conditions, or a table with the declared perturbation,
        dose and covariate columns.
    objective
        Quantity to maximise: a word, a function of cells ``(n, G)`` that returns ``n`` numbers, or a mapping of these to
        weights. A negative weight minimises. Words are pathways and transcription factors of the stored networks,
        ``"size"`` of the effect, ``"synergy"`` (departure from the sum of the parts), and the four arguments below, which
        have weight 1 unless they are named here. If there are several terms, each is divided by its standard deviation
        over the training conditions.
    signature
        ``{"up": [...], "down": [...]}``: mean change of the genes in ``"up"`` minus that of the genes in ``"down"``.
    towards
        Target population, as a query of ``obs`` or as cells of another AnnData with log-normalised ``X``. The term is the
        cosine between the predicted effect and the difference of the population from the control cells. For candidates
        with generated cells, the table also has the decrease of the energy distance.
    like
        Name of a training condition. The term is the cosine with its effect.
    reward
        Name of a training condition. The term is the calibrated reward of the default verifiers for it. Needs
        :func:`~scperturbrl.pp.reference`, and is slower, like all functions of cells.
    covariates
        Contexts to predict for, such as ``{"cell_type": "B"}``; all with control cells by default.
    dose
        Dose of singles, pairs and labels, if doses are declared; for the first two, the largest measured dose by default.
    embeddings
        Features of perturbations, one row each; by default those of the generator, or else how genes respond.
    key
        Generator of the cells; by default the newest post-trained one, or ``"generator"`` if there is one.
    n_refine
        Number of candidates to generate cells for; 0 for none.
    n_cells
        Number of cells for each of these.
    top
        ``top_probability`` in the table is the probability of being among the best `top` candidates.
    level
        Share of conditions that the intervals contain.
    device
        Device on which cells are generated.
    seed
        Seed or NumPy generator.
    {modality}

    Returns
    -------
    Nothing. Writes ``uns["screen"]`` with ``params``, ``trust`` (one row for each kind of candidate: how well left-out
    training conditions of this kind were predicted) and ``table`` (one row for each candidate, best first); see
    :func:`scperturbrl.get.screen` for its columns.

    Raises
    ------
    ValueError
        If there are no candidates or no objective, or a covariate or dose does not fit.
    KeyError
        If a pathway, factor or condition of the objective does not exist.

    Notes
    -----
    Intervals are cross-conformal: half their width is a quantile of the absolute errors of left-out training conditions
    of the same kind as the candidate. They are valid for new conditions similar to the training conditions. Left-out
    conditions have no generated cells, so intervals and ``top_probability`` belong to the linear prediction
    (``line``), also for candidates with generated cells, whose ``value`` may be outside.

    The linear model is fitted to denoised effects, see :func:`~scperturbrl.metrics.denoised_effects`; without the
    left-out conditions, they are denoised again.

    The sampling noise of cells is subtracted from ``"size"`` and ``"synergy"``, so that conditions with few cells do not
    seem to have large effects. The value of a measured condition is negative if its effect is smaller than noise alone
    would be.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_perturbseq(n_genes=60, n_singles=8, n_doubles=20, n_cells_per_condition=30)
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.tl.screen(adata, "pairs", objective="size")
    >>> len(adata.uns["screen"]["table"])
    28
    """
    adata = pick(adata, modality)
    check_positive(n_cells=n_cells, top=top, level=level)
    check_fraction(level=level)
    started, seed = log.start("screening perturbations"), resolve_seed(seed)
    setup = Setup.of(adata)
    cells = Cells.of(adata, setup)
    features = perturbation_features(adata, key, embeddings)
    trained = trained_perturbations(cells)
    table = candidate_table(
        candidates,
        cells,
        setup,
        trained=trained,
        described=described_perturbations(cells, features),
        covariates=covariates,
        dose=dose,
    )
    known = Known.of(cells, wanted=sorted({p for parts in table["parts"] for p in parts}), embeddings=features)
    line, conditions = Line(known.ground, known.measured), known.encode(table)
    given = {"signature": signature, "towards": towards, "like": like, "reward": reward}
    wanted = build_objective(adata, cells, known, line, objective, given, seed=seed)
    fall = None if towards is None else EnergyFall.of(adata, known, towards, seed=seed)
    trust, real = Trust(known.ground, known.measured, conditions), real_values(known, line, wanted, fall)
    found = Screen(table, trust, predict_all(line, conditions, wanted), real, wanted)
    makes = CandidateCells.of(adata, cells, key, n_cells=n_cells, device=device, seed=seed) if n_refine > 0 else None
    refined = refine(found, known, line, makes, n_refine, fall)
    result = found.table(refined, trust.residuals(wanted, line, real.values[:, 0]), level=level, top=top, seed=seed)
    _tell(trust, result)
    params: dict[str, Any] = {
        "candidates": candidates if isinstance(candidates, str) else "given",
        "objective": {term.name: float(w) for term, w in zip(wanted.terms, wanted.weights, strict=True)},
        "scales": {term.name: float(s) for term, s in zip(wanted.terms, wanted.scales, strict=True)},
        "key": refined.key,
        "n_refined": len(refined.rows),
        "n_cells": n_cells,
        "top": top,
        "level": level,
        "seed": seed,
        "versions": versions(),
        "split_hash": split_hash(adata),
        "generator_hash": generator_hash(adata, refined.key),
    }
    write(adata, uns={keys.SCREEN: {"params": to_uns(params), "table": result, "trust": trust.table()}})
    log.finish(started, [f"uns[{keys.SCREEN!r}]"])


def _tell(trust: Trust, table: pd.DataFrame) -> None:
    new = table[(table["kind"].astype(str) != MEASURED) & table["value"].notna()]
    n_made = int(new["made_cells"].sum())
    between = int((~new["made_cells"].iloc[:n_made]).sum())
    if between:
        log.note(
            f"{between} of the best {n_made} new candidates have no generated cells: the cells of others were worth less than the linear model had "
            "said. Raise `n_refine` to make cells of more."
        )
    for errors in trust.errors.values():
        if not errors.enough:
            log.tell(too_few(errors))
    lost = table.index[table["value"].isna()]
    if len(lost):
        log.tell(
            f"{len(lost)} candidates have no value and come last ({counted(lost)}): one of their perturbations is "
            "unknown, or the objective is defined for combinations only."
        )
