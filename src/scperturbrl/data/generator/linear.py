"""Shifting the generated means of unseen conditions towards the linear prediction: fit, weight, use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scperturbrl._core import keys
from scperturbrl.data.cells.depth import equal_depth
from scperturbrl.data.generator.contexts import fit_contexts, is_new_context
from scperturbrl.data.generator.doses import dose_effects, fit_doses
from scperturbrl.data.generator.gene_shifts import gene_shifts
from scperturbrl.data.generator.means import Means, linear_effects, predicted_means, trained_shifts
from scperturbrl.data.generator.unseen import fit_own_gene, fit_unseen, own_genes
from scperturbrl.data.latent.cells import Controls, encode_rows
from scperturbrl.data.reference.moments import MeasuredEffects, measured_effects
from scperturbrl.flow.linear_part import MOST, PRIOR, agreement_weight, effect_magnitude, recentring_weight
from scperturbrl.metrics.baselines.combination_ridge import combination_ridge_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.linear_part import LinearPart

MIN_CELLS = 10
# The linear part was tested on left-out perturbations, the flow was not. So the flow gets a share only with the support of several
# validation conditions.
UNSEEN = {"prior": 1.0, "most": 1.0, "evidence": 8.0}
# Between measured doses, half of each is closer than either. One or two validation conditions change little, because low doses do next to
# nothing. Beyond the measured doses, where the flow is far worse, only the linear part counts.
DOSES = {"prior": 0.5, "most": 0.75, "evidence": 8.0}
_WEIGHTS = {"": "weight", "unseen_": "weight_unseen", "dose_": "weight_dose"}
_LIMITS = {"unseen_": UNSEEN, "dose_": DOSES}


def fit_linear_part(stored: StoredGenerator, cells: Cells) -> None:
    """Fit the combination ridge of every control group, and of all together, to the effects of the training conditions.

    Also fit the map from features to the effects of unseen perturbations, the context line, and the change of the targeted gene.
    """
    generator, linear = stored.generator, stored.generator.linear
    names = cells.conditions(keys.TRAIN, min_cells=2)
    controls = Controls.of(cells)
    for group in cells.table.loc[names, "group"].unique():
        # effects need control cells; this raises an error that names the group without any
        controls.run(str(group))
    level = equal_depth(cells, cells.is_training())
    measured = measured_effects(level, cells.is_training(), names)
    table = cells.table.loc[names]
    denoised = measured.denoised()
    latent = generator.space.project(torch.as_tensor(denoised, dtype=torch.float32))
    linear.full_dose.fill_(max(float(table["dose"].max()), 1e-6) if (table["dose"] > 0).any() else 1.0)
    amount = linear.amount(torch.tensor(table["dose"].to_numpy(np.float32))).numpy()
    design = _design(table["parts"], stored.vocabulary.tokens) * amount[:, None]
    groups = stored.vocabulary.group_codes(table).numpy()
    for group in range(len(stored.vocabulary.groups) + 1):
        chosen = np.flatnonzero(groups == group) if group else np.arange(len(table))
        if len(chosen):
            _fit_group(linear, group, design[chosen], latent.numpy()[chosen])
    fit_doses(stored, table, latent)
    _fit_contexts(stored, cells, measured, denoised)
    fit_unseen(stored, measured.effect.astype(np.float32), table["parts"], design, groups)
    fit_own_gene(stored, cells)


def _fit_contexts(stored: StoredGenerator, cells: Cells, measured: MeasuredEffects, denoised: np.ndarray) -> None:
    """Fit the transfer of effects to new contexts to training and validation conditions, given those of the training conditions.

    No choice about new contexts is made on validation conditions, so their effects are worth more here.
    """
    names, tokens = cells.conditions(keys.TRAIN, min_cells=2), set(stored.vocabulary.tokens)
    held = [name for name in cells.conditions(keys.VALIDATION, min_cells=MIN_CELLS) if name not in set(names)]
    held = [name for name in held if tokens.issuperset(cells.table.at[name, "parts"])]
    if held and len(stored.generator.linear.context_control):
        names = [*names, *held]
        use = cells.is_training() | (cells.split == keys.VALIDATION)
        measured = measured_effects(equal_depth(cells, use), use, names)
        denoised = measured.denoised()
    table = cells.table.loc[names]
    amount = stored.generator.linear.amount(torch.tensor(table["dose"].to_numpy(np.float32))).numpy()
    fit_contexts(stored, measured, denoised, table, amount)


def _fit_group(linear: LinearPart, group: int, design: np.ndarray, latent: np.ndarray) -> None:
    rows, same = np.unique(design, axis=0, return_inverse=True)
    mean = pd.DataFrame(latent).groupby(same.ravel()).mean().to_numpy()
    seen = (rows != 0).any(0)
    # groups without combinations use the pooled additivity
    pooled = float(linear.additivity[0]) if group else 1.0
    found = combination_ridge_effect(rows[:, seen], mean, design_query=np.eye(int(seen.sum())), otherwise=pooled)
    linear.coefficients[group, 1:][torch.as_tensor(seen)] = torch.as_tensor(found.effect, dtype=torch.float32)
    linear.covered[group, 1:] = torch.as_tensor(seen, dtype=torch.float32)
    linear.additivity[group] = found.additivity


def fit_recentring(stored: StoredGenerator, cells: Cells, *, seed: int, device: torch.device | str = "cpu") -> None:
    """Set weights and magnitude of the linear part by the validation conditions, which neither it nor the flow was fitted to.

    The magnitude is that of combinations. Conditions with an unseen perturbation and those at an unmeasured dose have separate weights,
    chosen on validation conditions of the same kind. New contexts have weights of their own (:func:`linear_weights`), because one
    validation context says too little about another. The flow runs on `device`.
    """
    names = cells.conditions(keys.VALIDATION, min_cells=MIN_CELLS)
    table = cells.table.loc[names]
    new = _has_unseen(stored, table)
    linear = stored.generator.linear
    record: dict[str, float] = {}
    context, doses = is_new_context(stored, table) & ~new, dose_effects(stored, table)
    kinds = [(~new & ~context & ~doses.known.numpy(), ""), (context, "context_"), (new, "unseen_")]
    if linear.condition_effect.any():
        kinds.append((doses.between.numpy(), "dose_"))
    for kind, prefix in kinds:
        means = predicted_means(stored, cells, table, kind, seed=seed, device=device)
        means, rows = means.select(means.known), np.asarray(cells.rows(names), dtype=int)[means.known.numpy()]
        real = torch.zeros_like(means.flow)
        for i, row in enumerate(rows):
            own = np.flatnonzero((cells.codes == row) & (cells.split == keys.VALIDATION))
            real[i] = encode_rows(cells, own, stored.generator.space).mean(0)
        combined = torch.as_tensor(_is_combination(cells.table.iloc[rows]))
        if prefix in _WEIGHTS:
            limits = _limits(stored, cells.table.iloc[rows], combined, prefix)
            weight = recentring_weight(means.flow, means.linear, real, **limits)
            getattr(linear, _WEIGHTS[prefix]).fill_(weight)
            record[prefix + "weight"] = weight
        if not prefix:
            effects = means.mixed(weight), real - means.control
            linear.magnitude.fill_(effect_magnitude(*(part[combined] for part in effects)))
            record |= {"magnitude": float(linear.magnitude), "additivity": float(linear.additivity[0])}
        explained = {f"{name}_r2": _explained(getattr(means, name), real, means.control) for name in ("linear", "flow")}
        record |= {prefix + name: value for name, value in {"n_validation": len(rows), **explained}.items()}
    record["context_error"] = float(linear.context_error)
    stored.fitted["linear"] = record


def _limits(stored: StoredGenerator, table: pd.DataFrame, combined: Tensor, prefix: str) -> dict[str, float]:
    """Prior and limits of :func:`recentring_weight` for the conditions of `table`, all of one kind; `combined` marks combinations."""
    if prefix in _LIMITS:
        return _LIMITS[prefix]
    # The linear part estimates from all combinations at once by how much they fall short of the sum of their parts; the flow has to learn it from each.
    linear, vocabulary = stored.generator.linear, stored.vocabulary
    additivity = linear.additivity[linear.rows(vocabulary.batch(table), vocabulary.group_codes(table))]
    short = 1 - float(torch.where(combined, additivity, 1.0).mean()) if len(table) else 0.0
    return {"prior": min(PRIOR + short, 1.0), "most": min(MOST + short, 1.0)}


def recentred(
    stored: StoredGenerator,
    cells: Cells,
    table: pd.DataFrame,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> ConditionBatch:
    """Conditions of `table` as tensors; unseen conditions are shifted towards the linear prediction.

    Effects of combinations are multiplied by the magnitude that was fitted to validation combinations. The rate of the gene targeted by
    an unseen perturbation changes by the median change of trained targets. The flow runs on `device`; the tensors are on the CPU.
    """
    batch = stored.vocabulary.batch(table)
    weight, magnitude = _fitted_weights(stored, table), magnitudes(stored, table)
    new, transferred = _has_unseen(stored, table), _is_transferred(stored, table)
    translated = is_translated(stored, table)
    moves = (weight > 0) | (magnitude < 1) | translated | transferred
    shift, of_genes = trained_shifts(stored, table), None
    if not moves.any():
        return replace(batch, shift=shift) if shift.any() else batch
    # separately, so that unseen perturbations in `table` do not change the random numbers of the other conditions
    for kind in (~new, new):
        moved = np.flatnonzero(moves & kind)
        if not len(moved):
            continue
        every = np.ones(len(moved), dtype=bool)
        means = predicted_means(stored, cells, table.iloc[moved], every, seed=seed, device=device)
        # without a linear prediction, only the flow is used
        translated[moved] &= means.known.numpy()
        weight[moved] = _weights(stored, table.iloc[moved], means)
        parts = [torch.as_tensor(x[moved, None], dtype=torch.float32) for x in (weight, magnitude)]
        own = torch.as_tensor(translated[moved])[:, None]
        shift[moved] = torch.where(own, means.effect(*parts), means.shift(*parts))
        carried = np.flatnonzero((translated & transferred)[moved] & means.transferred.isfinite().all(1).numpy())
        if len(carried):
            rows, some = moved[carried], means.select(torch.as_tensor(carried))
            of_genes = torch.zeros(len(table), len(stored.genes)) if of_genes is None else of_genes
            of_genes[rows] = parts[0][carried] * gene_shifts(
                stored, cells, table.iloc[rows], some, seed=seed, device=device
            )
    marked = torch.as_tensor(translated) if translated.any() else None
    return replace(
        batch, shift=shift, own_genes=own_genes(stored, table, batch), translated=marked, gene_shift=of_genes
    )


def is_translated(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Whether the cells of a condition are its control cells shifted by the predicted mean effect ``(C,)``.

    For a new context or an unseen perturbation, the flow has not learnt how single cells respond. Only their mean effect can be
    predicted; spread and shape are taken from the control cells.
    """
    if not stored.generator.observation.carries:
        return np.zeros(len(table), dtype=bool)
    new_group = ~table["group"].isin(stored.vocabulary.groups).to_numpy(dtype=bool)
    return _is_predicted(stored, table) & (new_group | _has_unseen(stored, table))


def linear_weights(
    stored: StoredGenerator, cells: Cells, table: pd.DataFrame, *, seed: int, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Share ``(C,)`` of the linear part in the mean of each condition of `table`; 0 for trained and for unknown ones.

    In new contexts it is :func:`~scperturbrl.flow.linear_part.agreement_weight`, for which the flow runs on `device`.
    """
    weight, transferred = _fitted_weights(stored, table), np.flatnonzero(_is_transferred(stored, table))
    if len(transferred):
        own, every = table.iloc[transferred], np.ones(len(transferred), dtype=bool)
        weight[transferred] = _weights(
            stored, own, predicted_means(stored, cells, own, every, seed=seed, device=device)
        )
    return weight


def _weights(stored: StoredGenerator, table: pd.DataFrame, means: Means) -> np.ndarray:
    """Share ``(C,)`` of the linear part, given the means of the conditions of `table`."""
    agreed = agreement_weight(means.flow, means.linear, means.control, stored.generator.linear.context_error)
    return np.where(_is_transferred(stored, table), agreed.numpy(), _fitted_weights(stored, table))


def _fitted_weights(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Share ``(C,)`` of the linear part where it was fitted to validation conditions, 0 for other conditions."""
    linear = stored.generator.linear
    known = np.where(_is_combination(table), float(linear.weight), min(float(linear.weight), MOST))
    weight = np.where(_has_unseen(stored, table), float(linear.weight_unseen), known)
    doses = dose_effects(stored, table)
    weight = np.where(doses.known, np.where(doses.between, float(linear.weight_dose), 1.0), weight)
    return weight * (_is_predicted(stored, table) & ~_is_transferred(stored, table))


def _is_transferred(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Whether the effect of a condition is transferred from other contexts ``(C,)``."""
    return is_new_context(stored, table) & _is_predicted(stored, table) & ~_has_unseen(stored, table)


def magnitudes(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Factor ``(C,)`` of the predicted effect of each condition of `table`.

    It is 1 for conditions that were trained on or have no linear prediction, for single perturbations, and for combinations with an
    unseen perturbation.
    """
    own = _is_predicted(stored, table) & ~_has_unseen(stored, table) & _is_combination(table)
    return np.where(own, float(stored.generator.linear.magnitude), 1.0)


def held_means(stored: StoredGenerator, cells: Cells, table: pd.DataFrame, *, seed: int) -> Tensor:
    """Share ``(C,)`` of a change of the flow's mean of a condition that :func:`recentred` reverses, at the current weight and magnitude."""
    # cells of translated conditions do not come from the flow
    share, flows = np.zeros(len(table)), np.flatnonzero(~is_translated(stored, table))
    own = table.iloc[flows]
    # from Means.shift: the mean is `magnitude` times a mixture, in which the flow has the share 1 - weight
    share[flows] = 1 - magnitudes(stored, own) * (1 - linear_weights(stored, cells, own, seed=seed))
    return torch.as_tensor(share, dtype=torch.float32)


def _is_combination(table: pd.DataFrame) -> np.ndarray:
    return (table["parts"].str.len() > 1).to_numpy(dtype=bool)


def _is_predicted(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    """Whether a condition is not trained on and has a linear prediction ``(C,)``."""
    known = linear_effects(stored, table, stored.vocabulary.batch(table))[1].numpy()
    return known & ~table.index.isin(stored.training_conditions())


def _has_unseen(stored: StoredGenerator, table: pd.DataFrame) -> np.ndarray:
    tokens = set(stored.vocabulary.tokens)
    return np.array([not tokens.issuperset(parts) for parts in table["parts"]], dtype=bool)


def _explained(means: Tensor, real: Tensor, control: Tensor) -> float:
    """Share of the squared effects that `means` explains; NaN without conditions."""
    if not len(real):
        return float("nan")
    return 1 - float((real - means).square().sum() / (real - control).square().sum())


def _design(parts: pd.Series, tokens: Sequence[str]) -> np.ndarray:
    position = {token: i for i, token in enumerate(tokens)}
    design = np.zeros((len(parts), len(tokens)))
    for row, own in enumerate(parts):
        for part in own:
            design[row, position[part]] += 1
    return design
