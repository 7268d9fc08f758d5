"""Known effects in a user's own control cells: real noise with a known truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core.validate import check_obs_column
from scperturbrl.datasets._names import TRUTH
from scperturbrl.datasets._planting import deal_cells, draw_truth, planted, put_in_contexts
from scperturbrl.datasets._settings import Settings, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_MIN_GENES = 40


def plant_effects(
    controls: AnnData,
    *,
    layer: str | None = None,
    n_singles: int = 10,
    n_doubles: int = 6,
    context_key: str | None = None,
    context_spread: float = 0.3,
    doses: Sequence[float] | None = None,
    n_cells_per_condition: int = 100,
    control_fraction: float = 0.3,
    fraction_additive: float = 0.45,
    fraction_buffered: float = 0.25,
    fraction_epistatic: float = 0.15,
    fraction_nonresponding: float = 0.15,
    effect_size: float = 0.5,
    target_effect: float = -1.5,
    max_fold: float = 4.0,
    seed: int = 0,
) -> AnnData:
    r"""Plant known effects into real control cells.

    Cells are assigned at random: some stay controls, and each of the others gets a condition. Effects are
    drawn as in :func:`simulated_perturbseq`: singles in families that share gene programs, doubles that are additive,
    buffered, epistatic or neomorphic. A condition multiplies the rate of gene g by :math:`f_g`.

    Counts are only thinned, never added. A treated cell keeps each count of gene g with probability :math:`f_g / m_g`
    and a control cell with probability :math:`1 / m_g`, where :math:`m_g \geq 1` is the largest factor of any
    condition. A thinned Poisson or negative-binomial count has the same distribution with a smaller mean. So
    zeros, variance and correlations remain those of real, slightly shallower cells. Adding counts instead would keep
    every zero and amplify counting noise. The drawback is that genes raised in some condition have fewer counts in all
    cells.

    Parameters
    ----------
    controls
        Unperturbed cells with raw counts.
    layer
        Layer with the counts; ``X`` by default.
    n_singles, n_doubles
        Number of perturbations of one gene, named after it, and of two (``A+B``).
    context_key
        Column of ``obs`` with contexts, such as cell types or donors. Every condition is planted in each of them.
    context_spread
        Standard deviation of the log factor by which each context multiplies the response of each gene program. At 0,
        effects are the same in all contexts.
    doses
        With doses, every single is planted at each of them and every double at the highest, along a Hill curve per
        single. Control cells have dose 0.
    n_cells_per_condition
        Maximum number of cells of a condition in each context. Further cells stay controls.
    control_fraction
        Minimum share of the cells of each context that stay controls.
    fraction_additive, fraction_buffered, fraction_epistatic
        Shares of the doubles; the rest is neomorphic.
    fraction_nonresponding
        Probability that a treated cell does not respond.
    effect_size
        Factor on all effects. 0 plants no effects.
    target_effect
        Change of the log rate of the targeted gene at an effect size of 1.
    max_fold
        Largest factor by which a rate may rise; larger factors are reduced to it. Genes lose up to this factor in
        depth.
    seed
        Seed. The same cells, seed and settings give the same object.

    Returns
    -------
    A new AnnData of the same cells and genes with thinned ``layers["counts"]``, log1p-normalised (10,000 counts per
    cell) ``X``, and

    ``obs``
        The columns of `controls`, ``perturbation`` and, with `doses`, ``dose``, and ``responder``.
    ``uns["pathway_network"]``
        Table ``source, target, weight``: the planted programs as an imperfect annotation.
    ``uns["truth"]``
        ``conditions`` (table of perturbation, dose and context, indexed by the condition names of the package).
        ``effects`` (genes x conditions: change of log rate in responding cells). ``mean_effects`` (genes x conditions:
        mean log-normalised expression of the cells of the condition minus that of the same cells thinned as controls,
        over four more thinnings, non-responders included). ``kept`` (share of the counts of each gene that control cells
        keep). ``program_loadings``, ``singles``, ``interaction``, ``pathways``, ``parameters`` as in
        :func:`simulated_perturbseq`; ``context_modulation`` (contexts x programs).

    Raises
    ------
    KeyError
        If the layer or the column does not exist.
    ValueError
        If an argument is out of range, the cells have no raw counts, or a context has too few cells.

    Notes
    -----
    Thinning of real counts to plant signal follows :cite:t:`gerard2020`.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> toy = spr.datasets.toy()
    >>> controls = toy[toy.obs["perturbation"] == "control"]
    >>> planted = spr.datasets.plant_effects(
    ...     controls, layer="counts", n_singles=3, n_doubles=1, n_cells_per_condition=12
    ... )
    >>> planted.obs["perturbation"].value_counts().tolist()
    [42, 12, 12, 12, 12]
    >>> planted.uns["truth"]["effects"].shape
    (60, 4)
    """
    shares = {
        "fraction_additive": fraction_additive,
        "fraction_buffered": fraction_buffered,
        "fraction_epistatic": fraction_epistatic,
        "fraction_nonresponding": fraction_nonresponding,
    }
    counts = _counts(controls, layer)
    contexts = _contexts(controls, context_key)
    if not 0 < control_fraction < 1:
        fail("control_fraction", control_fraction, "must lie between 0 and 1")
    if not max_fold > 1:
        fail("max_fold", max_fold, "must be above 1")
    if not 0 <= context_spread < np.inf:
        fail("context_spread", context_spread, "must be at least 0 and finite")
    settings = Settings(
        n_genes=controls.n_vars,
        n_singles=n_singles,
        n_doubles=n_doubles,
        n_cells_per_condition=n_cells_per_condition,
        n_controls=1,
        cell_types=("all",),
        n_programs=24,
        n_pathways=14,
        **shares,
        effect_size=effect_size,
        target_effect=target_effect,
        target_coupling=0.0,
        doses=doses,
        library_size=1.0,
        dispersion=1.0,
        seed=seed,
    )
    rngs = [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(6)]
    truth = draw_truth(settings, controls.var_names, counts, rngs[:4])
    put_in_contexts(truth, contexts.categories, context_key, spread=context_spread, max_fold=max_fold, rng=rngs[2])
    row, responder = deal_cells(settings, truth["conditions"], contexts, control_fraction, rngs[4])
    adata = planted(controls, counts, truth, row, responder, rngs[5])
    adata.uns[TRUTH]["parameters"] = {
        "n_singles": n_singles,
        "n_doubles": n_doubles,
        "context_key": context_key or "",
        "context_spread": context_spread,
        "doses": np.asarray([] if doses is None else doses, dtype=float),
        "n_cells_per_condition": n_cells_per_condition,
        "control_fraction": control_fraction,
        **shares,
        "effect_size": effect_size,
        "target_effect": target_effect,
        "max_fold": max_fold,
        "seed": seed,
    }
    return adata


def _counts(controls: AnnData, layer: str | None) -> sparse.csr_matrix:
    where = "`X`" if layer is None else f"`layers[{layer!r}]`"
    if layer is not None and layer not in controls.layers:
        msg = f"`controls` has no {where}; its layers are {list(controls.layers)}."
        raise KeyError(msg)
    if controls.n_vars < _MIN_GENES:
        msg = f"`controls` has {controls.n_vars} genes; at least {_MIN_GENES} are needed to plant gene programs."
        raise ValueError(msg)
    counts = sparse.csr_matrix(controls.X if layer is None else controls.layers[layer])
    values = np.asarray(counts.data, dtype=float)
    if not np.isfinite(values).all() or (values < 0).any() or (values != np.rint(values)).any():
        msg = f"{where} of `controls` does not hold raw counts, which thinning needs. Name the layer that does in `layer`."
        raise ValueError(msg)
    return counts


def _contexts(controls: AnnData, key: str | None) -> pd.Categorical:
    if key is None:
        return pd.Categorical(["all"] * controls.n_obs)
    check_obs_column(controls, key, role="context")
    return pd.Categorical(controls.obs[key].astype(str))
