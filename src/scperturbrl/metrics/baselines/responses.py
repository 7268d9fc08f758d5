"""Features of genes from their responses to training conditions, for predicting the effect of perturbing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import eigh

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

N_RESPONSES = 20


class Responses(NamedTuple):
    """How genes respond to the training conditions.

    Attributes
    ----------
    genes
        ``(G, K)`` response of each gene along the K strongest directions.
    directions
        ``(K, G)`` these directions, as unit vectors.
    """

    genes: np.ndarray
    directions: np.ndarray


def without_own_genes(effects: np.ndarray, parts: Sequence[tuple[str, ...]], genes: pd.Index) -> np.ndarray:
    """Replace the change of a targeted gene in effects ``(C, G)`` by its mean change in conditions that do not target it.

    A gene changes most when it is perturbed itself. This change would leak its own effect into its response.
    """
    targeted = np.stack([np.asarray(genes.isin(own)) for own in parts])
    others = np.ma.masked_array(effects, targeted).mean(0).filled(0.0)
    return np.where(targeted, others, effects)


def gene_responses(effects: np.ndarray) -> Responses:
    """Responses of genes to conditions, from effects ``(C, G)`` without own genes; padded with zeros to K."""
    centred = effects - effects.mean(0)
    n = min(N_RESPONSES, max(len(effects) - 1, 0), effects.shape[1])
    directions, s = np.zeros((N_RESPONSES, effects.shape[1])), np.zeros(N_RESPONSES)
    if n:
        s[:n], directions[:n] = _strongest(centred, n)
    return Responses(directions.T * s, directions)


def _strongest(centred: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` largest singular values of ``(C, G)`` and their right vectors ``(n, G)``, by the smaller Gram matrix."""
    wide = centred.shape[1] > centred.shape[0]
    gram = (centred @ centred.T if wide else centred.T @ centred).astype(float)
    square, vectors = eigh(gram, subset_by_index=(len(gram) - n, len(gram) - 1))
    s, vectors = np.sqrt(np.maximum(square[::-1], 0)), vectors[:, ::-1]
    # values within rounding error have no direction
    known = s > 1e-7 * s.max(initial=0)
    right = (vectors / np.where(known, s, 1)).T @ centred if wide else vectors.T
    return np.where(known, s, 0), np.where(known[:, None], right, 0)


def along_responses(responses: np.ndarray, effects: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Mean effect, followed by the effect per unit of each response ``(1 + K, G)``.

    Only a slope is fitted: perturbing a gene has the shared effect of the conditions that it responds to, times the
    slope. A full matrix from responses to effects would need many more perturbations than a screen has. The slope is
    shrunk as if one extra perturbation showed no relation.

    Parameters
    ----------
    responses
        ``(n, K)`` responses of the genes that were perturbed.
    effects
        ``(n, G)`` effects of perturbing them.
    directions
        ``(K, G)`` directions of the responses.
    """
    mean, n = effects.mean(0), len(effects)
    slope = (responses * ((effects - mean) @ directions.T)).sum() / max(np.square(responses).sum() * (1 + 1 / n), 1e-12)
    return np.vstack([mean, slope * directions])
