"""Agreement of a cell's transcription-factor activities with those of the condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.verifiers._pathway_activity import activity_agreement, standardise_network, ulm_correlation
from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference
    from scperturbrl.verifiers.prepared import ReferenceCells, SetResponse


def _response(cells: ReferenceCells) -> SetResponse:
    return cells.response(cells.regulons[0])


def _weight(cells: ReferenceCells) -> np.ndarray:
    """Absolute response of the factors that respond and that the condition does not target."""
    found, factors = cells.once(_response), cells.regulons[1]
    targeted = np.array([[factor in own for factor in factors] for own in cells.parts], dtype=bool)
    targeted = targeted.reshape(found.response.shape)
    return np.where((np.abs(found.statistic) > 2) & ~targeted, np.abs(found.response), 0)


REGULON = Prepared("regulon", lambda cells: standardise_network(torch.as_tensor(cells.regulons[0])), scope="all")
REGULON_RESPONSE = Prepared("regulon_response", lambda cells: cells.once(_response).response)
REGULON_WEIGHT = Prepared("regulon_weight", _weight)
REGULON_SCALE = Prepared("regulon_scale", lambda cells: cells.once(_response).scale, scope="condition")
"""The same as the four fields `network` and ``pathway_...`` of a reference, for transcription factors."""


def tf_activity() -> Verifier:
    """Transcription-factor activity: do regulators respond as in real cells of the condition?

    The formula of :func:`~scperturbrl.verifiers.pathway_activity` with the regulons of transcription factors (CollecTRI)
    in place of pathways. Factors that the condition targets are left out.

    Returns
    -------
    A verifier in [-1, 1]. NaN for a condition in which no factor responds, and without ``pp.reference(...,
    tf_network=...)``.

    Notes
    -----
    It detects cells with high pathway scores due to a few marker genes, because regulons are different gene sets. Leave
    it out of the reward to have an independent check of the pathway verifier.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.tf_activity().label
    'TF activity'
    """
    return Verifier(
        name="tf_activity",
        score=_score,
        label="TF activity",
        description="Agreement in sign and size of transcription-factor activities with the condition's response.",
        range=(-1.0, 1.0),
        needs=("control_mean",),
        prepares=(REGULON, REGULON_RESPONSE, REGULON_WEIGHT, REGULON_SCALE),
        source="Activities after decoupler's ulm (doi:10.1093/bioadv/vbac016); regulons of CollecTRI "
        "(doi:10.1093/nar/gkad841).",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    effects = cells - reference.control_mean.unsqueeze(1)
    return activity_agreement(
        ulm_correlation(effects, reference.regulon),
        response=reference.regulon_response,
        weight=reference.regulon_weight,
        scale=reference.regulon_scale,
    )
