"""A seeded Perturb-seq simulator that stores the truth in the object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl.datasets._cells import draw_activity, draw_cell_types, draw_counts, draw_design
from scperturbrl.datasets._effects import Effects, draw_effects
from scperturbrl.datasets._names import COUNTS, PROGRAM_ACTIVITY, TRUTH
from scperturbrl.datasets._programs import draw_baseline, draw_loadings, draw_network, pathway_programs
from scperturbrl.datasets._settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_TARGET_SUM = 1e4


def simulated_perturbseq(
    *,
    n_genes: int = 1000,
    n_singles: int = 20,
    n_doubles: int = 24,
    n_cells_per_condition: int = 120,
    n_controls: int = 1200,
    cell_types: Sequence[str] = ("A",),
    n_programs: int = 24,
    n_pathways: int = 14,
    fraction_additive: float = 0.45,
    fraction_buffered: float = 0.25,
    fraction_epistatic: float = 0.15,
    fraction_nonresponding: float = 0.15,
    effect_size: float = 1.0,
    target_effect: float = 1.5,
    target_coupling: float = 0.0,
    doses: Sequence[float] | None = None,
    library_size: float = 6000,
    dispersion: float = 3.0,
    seed: int = 0,
) -> AnnData:
    r"""Simulate a Perturb-seq screen with known truth.

    Cell :math:`c` with library size :math:`L_c` has counts
    :math:`x_{cg} \sim \mathrm{NB}(\mu_{cg}, \theta)` of mean :math:`\mu_{cg} = L_c\,\mathrm{softmax}(\eta_c)_g` and
    variance :math:`\mu + \mu^2/\theta`, with log rates

    .. math:: \eta_c = b_{\mathrm{batch}(c)} + W a_c + s_c d_{\mathrm{condition}(c)}.

    :math:`W` holds sparse signed gene programs. The activity :math:`a_c` is the cell type's own activity, plus the
    state of the cell (a third of the programs, at the end, vary between unperturbed cells), plus
    :math:`s_c` times the response of the condition. :math:`d` is the direct effect on the targeted genes.
    The response strength :math:`s_c` is gamma distributed with mean 1, and 0 for controls and non-responders.

    Singles come in functional families that share most of their response. A double is the sum of its singles
    (additive), a shrunken sum (buffered), one single that masks the other (epistatic), or a shrunken sum plus
    programs that neither single uses (neomorphic); the direct effects on the two targets always add.

    Parameters
    ----------
    n_genes
        Number of genes, at least 40. Perturbations are named after the gene that they target.
    n_singles, n_doubles
        Number of perturbations of one gene, and of two (labelled ``A+B``).
    n_cells_per_condition
        Number of cells of each condition, divided evenly among cell types.
    n_controls
        Number of unperturbed cells, labelled ``control``.
    cell_types
        Names of cell types. They differ in their state programs and scale every response by about 0.7 to 1.4.
    n_programs
        Gene programs, at least 3; perturbations act on the first two thirds.
    n_pathways
        Pathways of the network, at most `n_programs`.
    fraction_additive, fraction_buffered, fraction_epistatic
        Shares of the doubles, rounded by largest remainder; the rest is neomorphic.
    fraction_nonresponding
        Probability that a perturbed cell does not respond.
    effect_size
        Factor on all effects. 0 gives a screen without effects.
    target_effect
        Change of the log rate of the targeted gene: positive as in CRISPR activation, negative as in interference.
    target_coupling
        Share of a single's response that follows the programs of its target gene, from 0 to 1. At 0
        the covariation of a gene is unrelated to the effect of perturbing it, so unseen perturbations cannot be
        predicted from it.
    doses
        With doses, every single is measured at each of them and every double at the highest. The share of the full
        effect follows a Hill curve per single. Control cells have dose 0.
    library_size
        Mean library size in counts; cells vary log-normally around it.
    dispersion
        The size parameter :math:`\theta` of the negative binomial; smaller is noisier.
    seed
        Seed. The same seed and settings give the same object.

    Returns
    -------
    AnnData with log1p-normalised (10,000 counts per cell) ``X``, both matrices sparse, and

    ``layers["counts"]``
        Counts.
    ``obs``
        ``perturbation``, ``cell_type``, ``batch``, ``dose`` (with `doses`), and the truth of each cell:
        ``library_size`` (expected), ``responder``, ``response_strength``.
    ``obsm["program_activity"]``
        :math:`a_c`, cells x programs.
    ``uns["pathway_network"]``
        Table ``source, target, weight``: the programs as an imperfect annotation. A quarter of the targets of a program
        is missing, one edge in six is false, weights are noisy and a few signs wrong.
    ``uns["truth"]``
        ``effects`` (genes x conditions) and ``program_activity`` (conditions x programs): the response at strength 1,
        averaged over cell types. ``program_loadings`` :math:`W` (genes x programs). ``baseline`` :math:`b` (genes x
        batches). ``cell_type_activity`` and ``cell_type_modulation`` (cell types x programs). ``conditions`` (table
        of the condition names, which are perturbations, or ``perturbation@dose``). ``singles`` (family, direct effect
        and dose curve of each). ``interaction`` (table of the doubles: genes, type, weight of each single in the
        response, activity of new programs). ``pathways`` (program of each pathway). ``parameters`` (all arguments).

        The direct effect :math:`d` is ``effects - program_loadings @ program_activity.T``.

    Raises
    ------
    ValueError
        When an argument is out of range; the message names it.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_perturbseq(n_genes=80, n_cells_per_condition=20, n_controls=60)
    >>> adata.shape
    (940, 80)
    >>> adata.uns["truth"]["interaction"]["type"].value_counts().to_dict()
    {'additive': 11, 'buffered': 6, 'epistatic': 4, 'neomorphic': 3}
    """
    settings = Settings(
        n_genes=n_genes,
        n_singles=n_singles,
        n_doubles=n_doubles,
        n_cells_per_condition=n_cells_per_condition,
        n_controls=n_controls,
        cell_types=cell_types,
        n_programs=n_programs,
        n_pathways=n_pathways,
        fraction_additive=fraction_additive,
        fraction_buffered=fraction_buffered,
        fraction_epistatic=fraction_epistatic,
        fraction_nonresponding=fraction_nonresponding,
        effect_size=effect_size,
        target_effect=target_effect,
        target_coupling=target_coupling,
        doses=doses,
        library_size=library_size,
        dispersion=dispersion,
        seed=seed,
    )
    return _simulate(settings)


def toy(seed: int = 0) -> AnnData:
    """Simulate 300 cells x 60 genes with strong effects, for examples and tests.

    90 controls, and 30 cells of each of four singles and three doubles (additive, buffered, epistatic), with a network
    of four pathways. The slots are those of :func:`simulated_perturbseq`.

    Parameters
    ----------
    seed
        Seed. The same seed gives the same object.

    Returns
    -------
    AnnData with log1p-normalised ``X``, ``layers["counts"]``, ``obs["perturbation"]`` and the truth.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> adata.shape
    (300, 60)
    >>> adata.obs["perturbation"].cat.categories.tolist()[:3]
    ['control', 'GENE014', 'GENE016']
    """
    return simulated_perturbseq(
        n_genes=60,
        n_singles=4,
        n_doubles=3,
        n_cells_per_condition=30,
        n_controls=90,
        n_programs=6,
        n_pathways=4,
        fraction_additive=1 / 3,
        fraction_buffered=1 / 3,
        fraction_epistatic=1 / 3,
        fraction_nonresponding=0.1,
        effect_size=1.5,
        library_size=1500,
        dispersion=6.0,
        seed=seed,
    )


def _simulate(settings: Settings) -> AnnData:
    # One random stream for each part, so that the number of cells does not affect the biology.
    streams = np.random.SeedSequence(settings.seed).spawn(7)
    rngs = [np.random.default_rng(stream) for stream in streams]
    baseline = draw_baseline(settings, rngs[0])
    loadings = draw_loadings(settings, rngs[1])
    pathways = pathway_programs(settings)
    network = draw_network(loadings, pathways, rngs[2])
    effects = draw_effects(settings, baseline=baseline, loadings=loadings, rng=rngs[3])
    types = draw_cell_types(settings, loadings.columns, rngs[4])
    obs, row = draw_design(settings, effects.conditions, rngs[5])
    activity = draw_activity(settings, obs, row, effects=effects, types=types, rng=rngs[5])
    counts = draw_counts(
        settings, obs, activity, row, baseline=baseline, loadings=loadings, effects=effects, rng=rngs[6]
    )
    adata = AnnData(log_normalise(counts), obs=obs, var=baseline[[]].copy(), layers={COUNTS: counts})
    adata.obsm[PROGRAM_ACTIVITY] = activity
    adata.uns[keys.PATHWAY_NETWORK] = network
    adata.uns[TRUTH] = _truth(settings, effects) | {
        "program_loadings": loadings,
        "baseline": baseline,
        "pathways": pathways,
        **{f"cell_type_{name}": table for name, table in types.items()},
    }
    return adata


def _truth(settings: Settings, effects: Effects) -> dict[str, pd.DataFrame | dict[str, Any]]:
    return {
        "effects": effects.effects,
        "program_activity": effects.activity,
        "conditions": effects.conditions,
        "singles": effects.singles,
        "interaction": effects.interaction,
        "parameters": settings.to_uns(),
    }


def log_normalise(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale every cell to 10,000 counts and take ``log1p``."""
    total = np.asarray(counts.sum(axis=1), dtype=float).ravel()
    scaled = sparse.diags(_TARGET_SUM / np.maximum(total, 1.0)) @ counts
    return scaled.log1p().astype(np.float32).tocsr()
