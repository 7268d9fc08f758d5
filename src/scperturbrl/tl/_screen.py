"""Rank perturbations by what they are predicted to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scperturbrl._core import keys, log
from scperturbrl._core.modality import pick
from scperturbrl._core.provenance import counted, generator_hash, split_hash
from scperturbrl._core.random import Seed, resolve_seed
from scperturbrl._core.serialize import to_uns, versions
from scperturbrl._core.validate import check_fraction, check_positive
from scperturbrl._core.write import write
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.screen.candidates import candidate_table
from scperturbrl.data.screen.energy_fall import EnergyFall
from scperturbrl.data.screen.features import described_perturbations, perturbation_features, trained_perturbations
from scperturbrl.data.screen.known import Known
from scperturbrl.data.screen.objective import build_objective
from scperturbrl.data.screen.real_values import real_values
from scperturbrl.data.screen.refine import refine
from scperturbrl.screen.conformal import too_few
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
    """Rank perturbations that may never have been measured by what they are predicted to do, with calibrated trust.

    All candidates are predicted by the straight line that every generator holds (a combination ridge, a context line, a map of unseen
    perturbations), fitted to the training cells; a generator is not needed for that. If there is one, it then makes cells of the `n_refine` most
    promising candidates. How far off predictions are is told by training conditions that were left out whole and predicted from the others.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.pp.split`.
    candidates
        ``"singles"`` (all trained perturbations, and those of which features are known), ``"pairs"`` (all pairs of trained perturbations), a list of
        labels (``"A+B"``) and names of conditions, or a table with the declared perturbation, dose and covariate columns.
    objective
        What is wanted, the more the better: a word, a function of cells ``(n, G)`` that gives ``n`` numbers, or a mapping of those to
        weights, below 0 for what is wanted low. Words are pathways and transcription factors of the stored networks, ``"size"`` of the effect,
        ``"synergy"`` (departure from the sum of the parts), and the four arguments below, which weigh 1 unless they are named here. Several
        terms are each divided by their spread over the training conditions.
    signature
        ``{"up": [...], "down": [...]}``: mean change of the genes to go up minus that of those to go down.
    towards
        A population to come near, as a query of ``obs`` or as cells of another AnnData with log-normalised ``X``: the cosine of the predicted effect
        with the way from the control cells to it. Of candidates with cells the table tells the fall of the energy distance, too.
    like
        Name of a training condition, whose effect is wanted: the cosine with it.
    reward
        The same, as the calibrated reward of the default verifiers. Needs :func:`~scperturbrl.pp.reference`; slower, as functions of cells are.
    covariates
        Contexts to look at, such as ``{"cell_type": "B"}``; all with control cells by default.
    dose
        Dose of singles, pairs and labels, where doses are declared; for the first two the largest that was measured by default.
    embeddings
        Features of perturbations, one row each; by default those of the generator, or else how genes respond.
    key
        Generator that makes cells; by default the newest post-trained one, or ``"generator"`` if there is one.
    n_refine
        Candidates that cells are made of, 0 for none.
    n_cells
        Cells of each.
    top
        ``top_probability`` is the probability of being among so many best.
    level
        Share of conditions that intervals are to hold.
    device
        Where cells are generated.
    seed
        Seed or NumPy generator.
    modality
        Modality of a MuData; by default its only one, or the only one that was set up.

    Returns
    -------
    Nothing. Writes ``uns["screen"]`` with ``params``, ``trust`` (one row a kind of candidate: how training conditions left out in this way were
    predicted) and ``table``, one row a candidate, best first; see :func:`scperturbrl.get.screen` for its columns.

    Raises
    ------
    ValueError
        If there are no candidates, nothing is wanted, or a covariate or dose does not fit.
    KeyError
        If the objective names no pathway, factor or condition that there is.

    Notes
    -----
    Intervals are cross-conformal: half their width is the quantile of the absolute errors of training conditions that were predicted
    without themselves, of the same kind as the candidate. They hold for new conditions that are like those. They are those of the line also where
    the generator made cells.

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
    chosen = found.promising(n_refine)
    refined = refine(
        adata, cells, known, line, table, chosen, wanted, fall, key=key, n_cells=n_cells, device=device, seed=seed
    )
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
    for errors in trust.errors.values():
        if not errors.enough:
            log.tell(too_few(errors))
    lost = table.index[table["value"].isna()]
    if len(lost):
        log.tell(
            f"{len(lost)} candidates have no value and come last ({counted(lost)}): nothing is known of one of their perturbations, or "
            "the objective is about combinations."
        )
