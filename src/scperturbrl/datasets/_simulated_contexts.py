"""A seeded screen of several cell types with known effects in each of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from scperturbrl._core import keys
from scperturbrl.datasets._cells import draw_activity, draw_counts, draw_design
from scperturbrl.datasets._context_settings import ContextSettings
from scperturbrl.datasets._contexts import draw_contexts, in_contexts, mean_effects
from scperturbrl.datasets._effects import draw_effects
from scperturbrl.datasets._names import BATCH, CELL_TYPE, COUNTS, LIBRARY_SIZE, LINEAGE, PROGRAM_ACTIVITY, TRUTH
from scperturbrl.datasets._programs import draw_baseline, draw_loadings, draw_network, pathway_programs
from scperturbrl.datasets._simulated import log_normalise


def simulated_contexts(
    *,
    n_genes: int = 1000,
    n_singles: int = 10,
    n_lineages: int = 2,
    n_cell_types: int = 3,
    n_cells_per_condition: int = 60,
    n_controls: int = 100,
    n_programs: int = 24,
    n_pathways: int = 14,
    fraction_shared: float = 0.5,
    fraction_scaled: float = 0.25,
    fraction_nonresponding: float = 0.15,
    effect_size: float = 1.0,
    target_effect: float = 1.5,
    library_size: float = 6000,
    depth_ratio: float | tuple[float, float] = 1.0,
    dispersion: float = 3.0,
    seed: int = 0,
) -> AnnData:
    r"""Simulate a screen of several cell types, for predicting effects in a cell type without measured perturbations.

    Counts, programs and perturbations are those of :func:`simulated_perturbseq`. In addition every cell type has its
    own baseline: the log rate of each gene has a shift for the lineage and one for the cell type (standard deviations
    0.6 and 0.3), and its state programs have a different activity (0.8 and 0.4). Cell types of one lineage are similar.

    A perturbation changes log rates in one of three ways:

    - ``shared``: by the same amount in all cell types,
    - ``scaled``: by an amount that is multiplied by a factor of the cell type, about .4 to 2 and 1 on average,
    - ``specific``: in the cell types of one lineage only; elsewhere only the targeted gene responds.

    Parameters
    ----------
    n_genes
        Genes, at least 40. Perturbations are named after the gene that they target.
    n_singles
        Perturbations.
    n_lineages, n_cell_types
        Lineages (``A``, ``B``, ...), and cell types in each of them (``A1``, ``A2``, ...).
    n_cells_per_condition
        Cells of each perturbation in each cell type.
    n_controls
        Unperturbed cells of each cell type.
    n_programs, n_pathways
        Gene programs, and pathways of the network, as in :func:`simulated_perturbseq`.
    fraction_shared, fraction_scaled
        Shares of the perturbations, rounded by largest remainder; the rest is specific.
    fraction_nonresponding
        Probability that a perturbed cell does not respond.
    effect_size
        Factor on all effects. 0 gives a screen without effects.
    target_effect
        Change of the log rate of the targeted gene.
    library_size
        Mean library size of control cells in counts; cells vary log-normally around it.
    depth_ratio
        Depth of treated cells relative to control cells. Two numbers are a range, such as ``(0.25, 4)``, from which
        every condition draws its own ratio, uniformly on the log scale.
    dispersion
        The size parameter of the negative binomial; smaller is noisier.
    seed
        Seed. The same seed and settings give the same object.

    Returns
    -------
    AnnData with log1p-normalised (10,000 counts per cell) ``X`` and ``layers["counts"]``, both sparse, and

    ``obs``
        ``perturbation``, ``cell_type``, ``lineage``, ``batch``, and the truth of each cell: ``library_size`` (expected),
        ``responder``, ``response_strength``.
    ``obsm["program_activity"]``
        Cells x programs.
    ``uns["pathway_network"]``
        Table ``source, target, weight``, as in :func:`simulated_perturbseq`.
    ``uns["truth"]``
        ``conditions`` (table of perturbation, cell type, kind, factor and depth ratio, indexed by the condition names
        of the package with ``covariate_keys=["cell_type"]``). ``effects`` (genes x conditions: change of log rate at
        response strength 1). ``mean_effects`` (genes x conditions: change of the mean log-normalised expression at the
        mean depth of control cells, non-responders included). ``program_activity`` (conditions x programs).
        ``program_loadings`` (genes x programs). ``baseline`` (genes x batches). ``cell_type_baseline`` (genes x cell
        types). ``cell_type_activity`` (cell types x programs). ``cell_types`` (lineage and factor of each). ``singles``
        (family, direct effect, kind and lineage of each). ``pathways`` (program of each pathway). ``parameters``.

    Raises
    ------
    ValueError
        When an argument is out of range; the message names it.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.simulated_contexts(n_genes=80, n_singles=4, n_cells_per_condition=10, n_controls=20)
    >>> adata.shape
    (360, 80)
    >>> adata.uns["truth"]["singles"]["kind"].value_counts().sort_index().to_dict()
    {'scaled': 1, 'shared': 2, 'specific': 1}
    >>> effects = adata.uns["truth"]["mean_effects"]
    >>> list(effects)[0].endswith(" | cell_type=A1")
    True
    """
    settings = ContextSettings(
        n_genes=n_genes,
        n_singles=n_singles,
        n_lineages=n_lineages,
        n_cell_types=n_cell_types,
        n_cells_per_condition=n_cells_per_condition,
        n_controls=n_controls,
        n_programs=n_programs,
        n_pathways=n_pathways,
        fraction_shared=fraction_shared,
        fraction_scaled=fraction_scaled,
        fraction_nonresponding=fraction_nonresponding,
        effect_size=effect_size,
        target_effect=target_effect,
        library_size=library_size,
        depth_ratio=depth_ratio,
        dispersion=dispersion,
        seed=seed,
    )
    return _simulate(settings)


def _simulate(settings: ContextSettings) -> AnnData:
    screen = settings.screen
    # One random stream for each part, so that the number of cells does not affect the biology.
    rngs = [np.random.default_rng(stream) for stream in np.random.SeedSequence(settings.seed).spawn(8)]
    baseline = draw_baseline(screen, rngs[0])
    loadings = draw_loadings(screen, rngs[1])
    pathways = pathway_programs(screen)
    network = draw_network(loadings, pathways, rngs[2])
    everywhere = draw_effects(screen, baseline=baseline, loadings=loadings, rng=rngs[3])
    contexts, shifts, activities = draw_contexts(settings, loadings.columns, baseline.index, rngs[4])
    effects = in_contexts(settings, everywhere, contexts, loadings, rngs[7])
    obs, single = draw_design(screen, everywhere.conditions, rngs[5])
    row = np.where(single < 0, -1, single * len(contexts) + obs[CELL_TYPE].cat.codes.to_numpy())
    depth = np.append(effects.conditions["depth_ratio"].to_numpy(), 1.0)[row]
    obs[LIBRARY_SIZE] *= depth
    obs.insert(2, LINEAGE, pd.Categorical(contexts[LINEAGE].loc[obs[CELL_TYPE]].to_numpy()))
    # The response is already specific to the cell type.
    types = {"activity": activities, "modulation": pd.DataFrame(np.ones(activities.shape))}
    activity = draw_activity(screen, obs, row, effects=effects, types=types, rng=rngs[5])
    origins, origin = _origins(baseline, shifts, obs)
    rates = {"baseline": origins, "loadings": loadings, "effects": effects}
    cells = obs.assign(**{BATCH: origin})
    counts = draw_counts(screen, cells, activity, row, **rates, rng=rngs[6])
    adata = AnnData(log_normalise(counts), obs=obs, var=baseline[[]].copy(), layers={COUNTS: counts})
    adata.obsm[PROGRAM_ACTIVITY] = activity
    adata.uns[keys.PATHWAY_NETWORK] = network
    adata.uns[TRUTH] = {
        "conditions": effects.conditions,
        "effects": effects.effects,
        "mean_effects": mean_effects(settings, cells, activity, row, **rates),
        "program_activity": effects.activity,
        "program_loadings": loadings,
        "baseline": baseline,
        "cell_type_baseline": shifts,
        "cell_type_activity": activities,
        "cell_types": contexts,
        "singles": effects.singles,
        "pathways": pathways,
        "parameters": settings.to_uns(),
    }
    return adata


def _origins(baseline: pd.DataFrame, shifts: pd.DataFrame, obs: pd.DataFrame) -> tuple[pd.DataFrame, pd.Categorical]:
    """Log rates of every pair of batch and cell type (genes x pairs), and the pair of each cell."""
    table = {f"{batch}|{name}": baseline[batch] + shifts[name] for batch in baseline for name in shifts}
    labels = obs[BATCH].astype(str) + "|" + obs[CELL_TYPE].astype(str)
    return pd.DataFrame(table), pd.Categorical(labels, categories=list(table))
