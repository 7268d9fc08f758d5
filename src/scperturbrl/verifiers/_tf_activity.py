"""Agreement of a cell's transcription-factor activities with those of the condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scperturbrl.verifiers._pathway_activity import activity_agreement, ulm_correlation
from scperturbrl.verifiers.base import Verifier, field_of

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference


def tf_activity() -> Verifier:
    """Transcription-factor activity: do regulators respond as in real cells of the condition?

    The formula of :func:`~scperturbrl.verifiers.pathway_activity` with the regulons of transcription factors (CollecTRI)
    in place of pathways. Factors that the condition targets are left out.

    Returns
    -------
    A verifier in [-1, 1]. NaN for a condition in which no factor responds, and without ``pp.reference(..., tf_network=...)``.

    Notes
    -----
    It blocks cells that reach high pathway scores through a few marker genes, because regulons are other gene sets. Keep
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
        needs=("control_mean", "regulon", "regulon_response", "regulon_weight", "regulon_scale"),
        source="Activities after decoupler's ulm (doi:10.1093/bioadv/vbac016); regulons of CollecTRI "
        "(doi:10.1093/nar/gkad841).",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    effects = cells - reference.control_mean.unsqueeze(1)
    return activity_agreement(
        ulm_correlation(effects, field_of(reference, "regulon")),
        response=field_of(reference, "regulon_response"),
        weight=field_of(reference, "regulon_weight"),
        scale=field_of(reference, "regulon_scale"),
    )
