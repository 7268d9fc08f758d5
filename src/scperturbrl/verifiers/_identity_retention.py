"""Whether a cell keeps its cell type (or other covariates)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.components import GROUP, PROJECTION, of_group
from scperturbrl.verifiers.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference
    from scperturbrl.verifiers.prepared import ReferenceCells

N_FOR_IDENTITY = 1000


def _model(cells: ReferenceCells) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``(G, Q)`` and intercepts ``(Q,)`` of a logistic model of the combination of covariates."""
    if cells.n_groups < 2:
        return np.zeros((len(cells.genes), 0), dtype=np.float32), np.zeros(0, dtype=np.float32)
    from sklearn.linear_model import LogisticRegression

    projection = cells[PROJECTION]
    rows = [of_group(cells, number)[:N_FOR_IDENTITY] for number in range(cells.n_groups)]
    points = cells.expression(np.concatenate(rows)) @ projection
    label = np.repeat(np.arange(cells.n_groups), [len(row) for row in rows])
    model = LogisticRegression(class_weight="balanced", max_iter=5000).fit(points, label)
    # with two classes, the model stores the log odds of the second one
    weight, bias = model.coef_, model.intercept_
    if cells.n_groups == 2:
        weight, bias = np.vstack([0 * weight, weight]), np.append(0.0, bias)
    return (projection @ weight.T).astype(np.float32), bias.astype(np.float32)


IDENTITY_WEIGHT = Prepared("identity_weight", lambda cells: cells.once(_model)[0], scope="all")
IDENTITY_BIAS = Prepared("identity_bias", lambda cells: cells.once(_model)[1], scope="all")
"""``(G, Q)`` and ``(Q,)`` logistic model of the combination of covariates. Q is 0 if there is only one."""


def identity_retention() -> Verifier:
    """Identity retention: is a perturbed T cell still a T cell?

    The probability that a logistic model gives to the cell's own covariates (cell type, line or patient, whatever was
    declared). The model is fitted to real training cells, perturbed and control, with equal weight for each combination
    of covariates; so the effect of a perturbation does not lower the score.

    Returns
    -------
    A safeguard in [0, 1]. NaN if the data have only one combination of covariates.

    Notes
    -----
    It prevents rewards for a drift towards another cell type in which the perturbation has a stronger effect.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.identity_retention().range
    (0.0, 1.0)
    """
    return Verifier(
        name="identity_retention",
        score=_score,
        label="Identity retention",
        description="Probability of the cell's own cell type (or other covariates) under a logistic model.",
        range=(0.0, 1.0),
        prepares=(GROUP, IDENTITY_WEIGHT, IDENTITY_BIAS),
        safeguard=True,
        source="Our own.",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    weight = reference.identity_weight.to(cells.dtype)
    if weight.shape[1] == 0:
        return cells.new_full(cells.shape[:2], torch.nan)
    logits = cells @ weight + reference.identity_bias.to(cells.dtype)
    own = reference.group.view(-1, 1, 1).expand(-1, cells.shape[1], 1)
    return torch.softmax(logits, dim=-1).gather(-1, own).squeeze(-1)
