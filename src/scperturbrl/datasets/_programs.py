"""Genes, signed gene programs, and the pathway network, an imperfect annotation of the programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from scperturbrl.datasets._settings import Settings

BATCHES = ("batch1", "batch2")

_PROGRAM_SHARE, _MIN_PROGRAM = 0.06, 12
_FRACTION_DOWN = 0.35
_BASELINE_SD, _BATCH_SD = 1.5, 0.05

_MISSING, _FALSE, _WRONG_SIGN = 0.25, 0.2, 0.05
_WEIGHT_NOISE = 0.4
_MIN_TARGETS = 5


def gene_names(n_genes: int) -> pd.Index:
    """Return symbols such as ``GENE017``, padded to one width."""
    width = max(3, len(str(n_genes - 1)))
    return pd.Index([f"GENE{i:0{width}d}" for i in range(n_genes)], name=None)


def draw_baseline(settings: Settings, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the log rate of every gene in each batch (genes x batches)."""
    shared = rng.normal(0.0, _BASELINE_SD, (settings.n_genes, 1))
    shift = rng.normal(0.0, _BATCH_SD, (settings.n_genes, len(BATCHES)))
    return pd.DataFrame(shared + shift, index=gene_names(settings.n_genes), columns=list(BATCHES))


def draw_loadings(settings: Settings, rng: np.random.Generator) -> pd.DataFrame:
    """Draw sparse signed programs (genes x programs): the change of log rate per unit of activity."""
    shape = (settings.n_genes, settings.n_programs)
    size = max(_MIN_PROGRAM, round(_PROGRAM_SHARE * settings.n_genes))
    member = rng.random(shape).argsort(axis=0).argsort(axis=0) < size
    sign = np.where(rng.random(shape) < _FRACTION_DOWN, -1.0, 1.0)
    magnitude = 0.25 + rng.gamma(3.0, 0.15, shape)
    names = [f"program{i + 1:02d}" for i in range(settings.n_programs)]
    return pd.DataFrame(member * sign * magnitude, index=gene_names(settings.n_genes), columns=names)


def pathway_programs(settings: Settings) -> pd.DataFrame:
    """Choose the program of each pathway (table indexed by pathway).

    Response programs come first, so that a small network covers the programs that perturbations change.
    """
    numbers = range(1, settings.n_pathways + 1)
    programs = [f"program{i:02d}" for i in numbers]
    return pd.DataFrame({"program": programs}, index=pd.Index([f"PATHWAY{i:02d}" for i in numbers], name="pathway"))


def draw_network(loadings: pd.DataFrame, pathways: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Draw an imperfect annotation of the programs: a table ``source, target, weight``.

    A quarter of the true targets is missing, one edge in six is false, and weights are noisy with a few wrong signs.
    """
    edges = [_edges(loadings[program], rng).assign(source=pathway) for pathway, program in pathways["program"].items()]
    return pd.concat(edges, ignore_index=True)[["source", "target", "weight"]]


def _edges(loading: pd.Series, rng: np.random.Generator) -> pd.DataFrame:
    members = np.flatnonzero(loading.to_numpy())
    others = np.flatnonzero(loading.to_numpy() == 0)
    n_true = max(_MIN_TARGETS, round((1 - _MISSING) * members.size))
    n_false = min(others.size, round(_FALSE * n_true))
    true = np.sort(rng.choice(members, n_true, replace=False))
    false = np.sort(rng.choice(others, n_false, replace=False))
    # A false target looks like a true one: its weight is drawn from the weights of the true ones.
    weight = np.concatenate([loading.to_numpy()[true], rng.choice(loading.to_numpy()[members], n_false)])
    weight = weight * rng.lognormal(0.0, _WEIGHT_NOISE, weight.size)
    weight = np.where(rng.random(weight.size) < _WRONG_SIGN, -weight, weight)
    return pd.DataFrame({"target": loading.index[np.concatenate([true, false])].to_numpy(), "weight": weight})
