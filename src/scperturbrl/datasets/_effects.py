"""Effects of the conditions: singles in functional families, dose curves, and doubles that interact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl.datasets._names import ADDITIVE, BUFFERED, DOSE, EPISTATIC, NEOMORPHIC, PERTURBATION, SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scperturbrl.datasets._settings import Settings

_TYPICAL_ACTIVITY = 1.5
_SIZE_SD = 0.35
_SINGLES_PER_FAMILY = 4
_FAMILY_SHARE = 0.8
_OPPOSED = 0.15


@dataclass(frozen=True)
class Effects:
    """Responses of all conditions, at response strength 1.

    Attributes
    ----------
    singles
        Table indexed by target gene: ``family``, ``target_effect`` and, with doses, ``ec50`` and ``hill``.
    interaction
        Table indexed by double: both genes, ``type``, the weight of each single, and the norm of the new programs.
    conditions
        Table indexed by condition: ``perturbation`` and, with doses, ``dose``.
    activity
        Change of program activity, conditions x programs.
    effects
        Change of log rate, genes x conditions: programs plus the direct effect on the targeted genes.
    """

    singles: pd.DataFrame
    interaction: pd.DataFrame
    conditions: pd.DataFrame
    activity: pd.DataFrame
    effects: pd.DataFrame


def draw_effects(
    settings: Settings, *, baseline: pd.DataFrame, loadings: pd.DataFrame, rng: np.random.Generator
) -> Effects:
    """Draw the response of every condition."""
    singles = _draw_singles(settings, baseline.mean(axis=1), rng)
    full = _draw_activity(settings, singles, loadings, rng)
    interaction = _draw_interactions(settings, singles.index, rng)
    conditions = _conditions(singles.index, interaction.index, settings.doses)
    share = _dose_share(conditions, singles)
    activity = share @ full
    activity += _interaction_activity(settings, interaction, activity, conditions, rng=rng)
    activity = pd.DataFrame(activity, index=conditions.index, columns=loadings.columns)
    effects = (loadings @ activity.T).rename_axis(columns=None)
    target_rows = effects.index.get_indexer(singles.index)
    effects.iloc[target_rows] += (share * singles["target_effect"].to_numpy()).T
    return Effects(singles, interaction, conditions, activity, effects)


def _draw_singles(settings: Settings, baseline: pd.Series, rng: np.random.Generator) -> pd.DataFrame:
    # Targets are drawn from well-expressed genes, in which both knock-down and activation are visible.
    ranked = baseline.sort_values(kind="stable").index[int(0.4 * settings.n_genes) :]
    genes = np.sort(rng.choice(ranked.to_numpy(), settings.n_singles, replace=False))
    n_families = max(1, round(settings.n_singles / _SINGLES_PER_FAMILY))
    effect = settings.effect_size * settings.target_effect * rng.uniform(0.8, 1.2, settings.n_singles)
    table = {"family": np.arange(settings.n_singles) % n_families, "target_effect": effect}
    if settings.doses is not None:
        middle = np.log(np.asarray(settings.doses, dtype=float)).mean()
        table["ec50"] = rng.lognormal(middle, 0.5, settings.n_singles)
        table["hill"] = rng.uniform(1.0, 2.0, settings.n_singles)
    return pd.DataFrame(table, index=pd.Index(genes, name=PERTURBATION))


def _draw_activity(
    settings: Settings, singles: pd.DataFrame, loadings: pd.DataFrame, rng: np.random.Generator
) -> NDArray[np.float64]:
    n, n_families = settings.n_singles, int(singles["family"].max()) + 1
    family = _directions(settings, n_families, rng, n_active=4)[singles["family"].to_numpy()]
    opposed = np.where(rng.random((n, 1)) < _OPPOSED, -1.0, 1.0)
    own = _directions(settings, n, rng, n_active=2)
    direction = _FAMILY_SHARE * opposed * family + (1 - _FAMILY_SHARE**2) ** 0.5 * own
    if settings.target_coupling:
        direction = _along_target(settings, direction, loadings.loc[singles.index].to_numpy())
    size = settings.effect_size * _TYPICAL_ACTIVITY * rng.lognormal(0.0, _SIZE_SD, (n, 1))
    return size * direction / np.linalg.norm(direction, axis=1, keepdims=True)


def _along_target(
    settings: Settings, direction: NDArray[np.float64], loadings: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Align the response of each single with the response programs of its target gene, if it has any."""
    own = np.where(np.arange(loadings.shape[1]) < settings.n_response_programs, loadings, 0.0)
    member = own.any(1, keepdims=True)
    own = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
    other = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    share = settings.target_coupling
    return np.where(member, share * own + (1 - share**2) ** 0.5 * other, other)


def _directions(settings: Settings, n: int, rng: np.random.Generator, *, n_active: int) -> NDArray[np.float64]:
    shape = (n, settings.n_response_programs)
    active = rng.random(shape).argsort(axis=1).argsort(axis=1) < n_active
    values = active * rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)
    padded = np.zeros((n, settings.n_programs))
    padded[:, : settings.n_response_programs] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return padded


def _draw_interactions(settings: Settings, singles: pd.Index, rng: np.random.Generator) -> pd.DataFrame:
    first, second = np.triu_indices(settings.n_singles, k=1)
    chosen = np.sort(rng.choice(first.size, settings.n_doubles, replace=False))
    kind = rng.permutation(_interaction_types(settings))
    weight = np.ones((settings.n_doubles, 2))
    weight[kind == BUFFERED] *= rng.uniform(0.3, 0.65, (int((kind == BUFFERED).sum()), 1))
    masked = rng.integers(0, 2, settings.n_doubles)
    epistatic = np.flatnonzero(kind == EPISTATIC)
    weight[epistatic, masked[epistatic]] = 0.1
    weight[kind == NEOMORPHIC] *= 0.6
    names = singles.to_numpy(dtype=object)
    pair = {"first": names[first[chosen]], "second": names[second[chosen]]}
    label = [f"{a}{SEPARATOR}{b}" for a, b in zip(pair["first"], pair["second"], strict=True)]
    table = {**pair, "type": kind, "first_weight": weight[:, 0], "second_weight": weight[:, 1]}
    table["new_activity"] = np.where(kind == NEOMORPHIC, 0.8 * settings.effect_size * _TYPICAL_ACTIVITY, 0.0)
    return pd.DataFrame(table, index=pd.Index(label, name="double", dtype=object))


def _interaction_types(settings: Settings) -> NDArray[np.object_]:
    share = [settings.fraction_additive, settings.fraction_buffered, settings.fraction_epistatic]
    return by_share(settings.n_doubles, [ADDITIVE, BUFFERED, EPISTATIC, NEOMORPHIC], share)


def by_share(n: int, names: Sequence[str], shares: Sequence[float]) -> NDArray[np.object_]:
    """Repeat `names` by their shares to `n` in total, rounded by largest remainder; the last name gets the rest."""
    quota = n * np.array([*shares, max(0.0, 1.0 - sum(shares))])
    counts = np.floor(quota + 1e-9).astype(int)
    # Rounded, so that ties between shares do not depend on the rounding of 1 - sum.
    remainder = np.round(quota - counts, 9)
    largest = np.argsort(-remainder, kind="stable")[: n - counts.sum()]
    counts[largest] += 1
    return np.repeat(np.array(names, dtype=object), counts)


def _conditions(singles: pd.Index, doubles: pd.Index, doses: object) -> pd.DataFrame:
    if doses is None:
        names = [*singles, *doubles]
        return pd.DataFrame({PERTURBATION: names}, index=pd.Index(names, name="condition", dtype=object))
    levels = np.sort(np.asarray(doses, dtype=float))
    rows = [(name, dose) for name in singles for dose in levels] + [(name, levels[-1]) for name in doubles]
    index = pd.Index([f"{name}@{dose:g}" for name, dose in rows], name="condition", dtype=object)
    return pd.DataFrame(rows, columns=[PERTURBATION, DOSE], index=index)


def _dose_share(conditions: pd.DataFrame, singles: pd.DataFrame) -> NDArray[np.float64]:
    """Conditions x singles: the share of its full effect that each single exerts, 0 where it is absent."""
    parts = conditions[PERTURBATION].str.split(SEPARATOR, regex=False)
    present = np.array([singles.index.isin(names) for names in parts], dtype=float)
    if DOSE not in conditions:
        return present
    relative = conditions[[DOSE]].to_numpy() / singles["ec50"].to_numpy()
    return present / (1.0 + relative ** -singles["hill"].to_numpy())


def _interaction_activity(
    settings: Settings,
    interaction: pd.DataFrame,
    additive: NDArray[np.float64],
    conditions: pd.DataFrame,
    *,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Conditions x programs: effect of a double beyond the sum of its singles; 0 for singles and additive doubles."""
    excess = np.zeros_like(additive)
    if interaction.empty:
        return excess
    rows = np.flatnonzero(conditions[PERTURBATION].isin(interaction.index))
    # A double is measured at the highest dose, the last condition of each of its singles.
    last = {name: row for row, name in enumerate(conditions[PERTURBATION])}
    first, second = (additive[[last[name] for name in interaction[column]]] for column in ("first", "second"))
    weight = interaction[["first_weight", "second_weight", "new_activity"]].to_numpy()[:, :, None]
    new = _unused_programs(settings, np.abs(first) + np.abs(second), rng)
    excess[rows] = (weight[:, 0] - 1.0) * first + (weight[:, 1] - 1.0) * second + weight[:, 2] * new
    return excess


def _unused_programs(settings: Settings, used: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    response = used[:, : settings.n_response_programs]
    # The random key breaks ties among the programs that neither single uses.
    order = np.lexsort((rng.random(response.shape), response), axis=1)[:, :2]
    direction = np.zeros_like(used)
    signs = rng.choice([-1.0, 1.0], order.shape)
    np.put_along_axis(direction, order, signs / order.shape[1] ** 0.5, axis=1)
    return direction
