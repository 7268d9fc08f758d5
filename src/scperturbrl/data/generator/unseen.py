"""Effects of unseen perturbations: a linear map from their features, fitted to trained perturbations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core import keys
from scperturbrl.data.cells.cells import dense
from scperturbrl.metrics.baselines.feature_map import MIN_TRAINED, fit_feature_map, shrunk_map, without_some
from scperturbrl.metrics.baselines.learnable import learnable_shares
from scperturbrl.metrics.baselines.responses import along_responses, gene_responses, without_own_genes
from scperturbrl.metrics.baselines.ridge import ridge_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from torch import Tensor

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.flow.condition_encoder import ConditionBatch


def fit_unseen(
    stored: StoredGenerator, effects: np.ndarray, parts: pd.Series, design: np.ndarray, groups: np.ndarray
) -> None:
    """Fit the map from features to the effect of a perturbation, in every control group and in all together.

    Parameters
    ----------
    stored
        Generator with its space.
    effects, parts, groups
        ``(C, G)`` effects of the training conditions, their perturbations, and group code.
    design
        ``(C, P)`` amounts of the trained perturbations.
    """
    linear, space = stored.generator.linear, stored.generator.space
    names = stored.vocabulary.embeddings.index
    use = np.isin(stored.vocabulary.tokens, names)
    masked = without_own_genes(effects, list(parts), names) if linear.n_responses else effects
    responses = gene_responses(_per_perturbation(masked, design)) if linear.n_responses else None
    if responses is not None:
        linear.responses.copy_(torch.as_tensor(responses.genes, dtype=torch.float32))
    features = _features(stored, [token for token, known in zip(stored.vocabulary.tokens, use, strict=True) if known])
    to_latent = space.loadings().numpy()
    for group in range(linear.mapped.shape[0]):
        chosen = groups == group if group else np.ones(len(groups), dtype=bool)
        seen = (design[chosen] != 0).any(0) & use
        if seen.sum() < MIN_TRAINED:
            continue
        own = _token_effects(masked[chosen], design[chosen], seen)
        known = features[seen[use]]
        if responses is not None:
            found = along_responses(known, own, responses.directions) @ to_latent
            # positions among all genes, because responses are computed again without the left-out perturbations
            place = names.get_indexer([t for t, told in zip(stored.vocabulary.tokens, seen, strict=True) if told])
            leave_out = partial(_without_responses, own, place, to_latent)
        else:
            found = fit_feature_map(known, own @ to_latent)
            leave_out = partial(without_some, known, own @ to_latent)
        shares = learnable_shares(own @ to_latent, leave_out)
        found = shrunk_map(found, (own @ to_latent).mean(0), shares)
        linear.from_features[group] = torch.as_tensor(found, dtype=torch.float32)
        linear.map_error[group], linear.map_r2[group] = shares.error, shares.r2
        linear.mapped[group] = 1


def unseen_features(stored: StoredGenerator, table: pd.DataFrame, features: Tensor) -> Tensor:
    """Features ``(C, L, K)`` of the parts of the conditions of `table` for the linear map, 0 for padding.

    `features` are those of the condition encoder. The linear map uses the same ones if they are the user's embeddings.
    """
    linear = stored.generator.linear
    if not linear.n_responses:
        return features
    position = {gene: i for i, gene in enumerate(stored.genes)}
    found = torch.zeros(*features.shape[:2], linear.n_responses)
    for row, parts in enumerate(table["parts"]):
        for slot, part in enumerate(parts):
            if part in position:
                found[row, slot] = linear.responses[position[part]]
    return found


def fit_own_gene(stored: StoredGenerator, cells: Cells) -> None:
    """Measure the change of the targeted gene's own rate: the median log ratio to control cells over trained targets."""
    position = {gene: i for i, gene in enumerate(stored.genes)}
    table = cells.table.loc[cells.conditions(keys.TRAIN, min_cells=2)]
    table = table[[len(parts) == 1 and parts[0] in position for parts in table["parts"]]]
    if len(table) < MIN_TRAINED:
        return
    genes = np.array([position[parts[0]] for parts in table["parts"]])
    here, there = _own_rates(cells, np.array(cells.rows(table.index)), genes)
    amount = stored.generator.linear.amount(torch.as_tensor(table["dose"].to_numpy(np.float32))).numpy()
    known = (here > 0) & (there > 0)
    changes = np.log(here[known] / there[known]) / np.maximum(amount[known], 1e-3)
    if len(changes) >= MIN_TRAINED:
        stored.generator.linear.own_gene.fill_(float(np.median(changes)))


def _own_rates(cells: Cells, rows: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean rate ``(C,)`` of one gene per condition, in training cells of the conditions at `rows` and in their control cells."""
    controls = np.array([cells.control_row(int(row)) for row in rows])
    of_row = np.full(len(cells.table), -1)
    of_row[rows] = np.arange(len(rows))
    here, there = np.zeros(len(rows)), np.zeros(len(rows))
    training = np.flatnonzero(cells.is_training())
    for part, block in cells.pieces(training):
        codes = cells.codes[training[part]]
        found = np.flatnonzero(of_row[codes] >= 0)
        number = of_row[codes[found]]
        here += np.bincount(number, np.expm1(np.asarray(block[found, genes[number]]).ravel()), minlength=len(rows))
        for control in np.unique(controls[np.isin(controls, codes)]):
            own = np.flatnonzero(controls == control)
            rates = np.expm1(dense(block[np.flatnonzero(codes == control)][:, genes[own]]))
            there[own] += rates.sum(0, dtype=np.float64)
    count = np.bincount(cells.codes[training], minlength=len(cells.table))
    return here / np.maximum(count[rows], 1), there / np.maximum(count[controls], 1)


def own_genes(stored: StoredGenerator, table: pd.DataFrame, batch: ConditionBatch) -> Tensor | None:
    """1 + the index of the gene of each unseen part ``(C, L)``, 0 for other parts; None if there are no unseen ones."""
    position = {gene: i + 1 for i, gene in enumerate(stored.genes)}
    found = torch.zeros_like(batch.tokens)
    for row, parts in enumerate(table["parts"]):
        for slot, part in enumerate(parts):
            if part not in stored.vocabulary.numbers:
                found[row, slot] = position.get(part, 0)
    return found if found.any() else None


def _features(stored: StoredGenerator, names: Sequence[str]) -> np.ndarray:
    linear = stored.generator.linear
    if linear.n_responses:
        position = {gene: i for i, gene in enumerate(stored.genes)}
        return linear.responses.numpy()[[position[name] for name in names]].astype(float)
    return stored.vocabulary.embeddings.loc[list(names)].to_numpy(float)


def _per_perturbation(effects: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Effects averaged over conditions of the same perturbations in the same amounts."""
    _, same = np.unique(design, axis=0, return_inverse=True)
    codes = same.ravel()
    total = np.zeros((codes.max() + 1, effects.shape[1]))
    np.add.at(total, codes, effects)
    return total / np.bincount(codes)[:, None]


def _token_effects(effects: np.ndarray, design: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    seen = (design != 0).any(0)
    rows, same = np.unique(design[:, seen], axis=0, return_inverse=True)
    total = np.zeros((len(rows), effects.shape[1]))
    np.add.at(total, same.ravel(), effects)
    mean = total / np.bincount(same.ravel())[:, None]
    return ridge_effect(rows, mean, design_query=np.eye(int(seen.sum())))[0][wanted[seen]]


def _without_responses(
    effects: np.ndarray, place: np.ndarray, to_latent: np.ndarray, train: np.ndarray, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean response and departures for the rows `left_out` of `effects`, with gene responses computed from the others."""
    found = gene_responses(effects[train])
    fitted = along_responses(found.genes[place[train]], effects[train], found.directions) @ to_latent
    return fitted[0], found.genes[place[left_out]] @ fitted[1:]
