"""Kind of a condition, by its distance from the measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scperturbrl.screen.conditions import Conditions

MEASURED = "measured"
DOSE = "dose"
TRANSFER = "transfer"
COMBINATION = "combination"
PERTURBATION = "perturbation"
UNSEEN_PART = "unseen part"
CONTEXT = "context"
SEVERAL = "several"
KINDS = {
    MEASURED: "it has training cells itself",
    DOSE: "the same perturbation was measured in this context at other doses",
    TRANSFER: "measured only in other contexts or in combinations, with other perturbations measured in this context",
    COMBINATION: "a new combination of perturbations that were measured",
    PERTURBATION: "a perturbation that was never measured",
    UNSEEN_PART: "a combination with such a perturbation",
    CONTEXT: "measured only in other contexts, with only control cells in this one",
    SEVERAL: "a perturbation or combination that was never measured, in such a context",
}
"""Kinds of candidates with their meaning."""


def kinds_of(conditions: Conditions, measured: Conditions) -> np.ndarray:
    """Kind ``(n,)`` of each of `conditions`, given the training conditions `measured`."""
    trained, groups = np.unique(measured.codes[measured.codes >= 0]), np.unique(measured.group)
    labels, known = conditions.labels(), measured.labels()
    anywhere = set(known)
    here = set(zip(known, measured.group.tolist(), strict=True))
    exactly = set(zip(known, measured.group.tolist(), np.round(measured.amount, 6).tolist(), strict=True))
    own = list(zip(labels, conditions.group.tolist(), strict=True))
    amount = np.round(conditions.amount, 6).tolist()
    is_one = lambda found: np.fromiter(found, dtype=bool, count=len(conditions))
    new = (~np.isin(conditions.codes, trained) & (conditions.codes >= 0)).any(1)
    elsewhere, several = ~np.isin(conditions.group, groups), conditions.n_parts > 1
    choices = [
        (is_one((*pair, much) in exactly for pair, much in zip(own, amount, strict=True)), MEASURED),
        (elsewhere & ~is_one(label in anywhere for label in labels), SEVERAL),
        (elsewhere, CONTEXT),
        (new & several, UNSEEN_PART),
        (new, PERTURBATION),
        (is_one(pair in here for pair in own), DOSE),
        (is_one(label in anywhere for label in labels) | ~several, TRANSFER),
    ]
    return np.select([mask for mask, _ in choices], [kind for _, kind in choices], COMBINATION)
