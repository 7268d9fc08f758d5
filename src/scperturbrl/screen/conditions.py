"""Conditions as arrays: measured ones, candidates, and features of perturbations and contexts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scperturbrl.metrics.baselines.denoised import denoised_effects


@dataclass(frozen=True)
class Ground:
    """Perturbations and contexts, without effects.

    Attributes
    ----------
    names
        V perturbations.
    groups
        K contexts.
    controls
        ``(K, G)`` mean control profile of each context, log-normalised.
    control_noise
        ``(K,)`` sampling variance of these, mean over genes.
    genes
        ``(V,)`` index of each perturbation among the genes, -1 if it is not a gene.
    features
        ``(V, F)`` features of perturbations, NaN if there are none; None if the features are responses of genes.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    controls: np.ndarray
    control_noise: np.ndarray
    genes: np.ndarray
    features: np.ndarray | None = None

    def described(self) -> np.ndarray:
        """``(V,)`` whether an unmeasured perturbation has features."""
        return self.genes >= 0 if self.features is None else np.isfinite(self.features).all(1)


@dataclass(frozen=True)
class Conditions:
    """C conditions.

    Attributes
    ----------
    codes
        ``(C, L)`` ascending indices of their parts among the perturbations, padded with -1.
    amount
        ``(C,)`` amount, 1 at the full dose.
    group
        ``(C,)`` index of their context.
    """

    codes: np.ndarray
    amount: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        """Number of conditions."""
        return len(self.codes)

    def select(self, index: np.ndarray) -> Conditions:
        """Some of them."""
        return Conditions(self.codes[index], self.amount[index], self.group[index])

    @property
    def n_parts(self) -> np.ndarray:
        """``(C,)`` parts of each."""
        return (self.codes >= 0).sum(1)

    def design(self, n_names: int) -> np.ndarray:
        """``(C, V)`` amount of each perturbation in each condition."""
        found = np.zeros((len(self), n_names + 1))
        np.put_along_axis(found, self.codes, self.amount[:, None].repeat(self.codes.shape[1], 1), 1)
        return found[:, :-1]

    def labels(self) -> list[tuple[int, ...]]:
        """Parts of each, regardless of context and dose."""
        return [tuple(code for code in row if code >= 0) for row in self.codes.tolist()]


@dataclass(frozen=True)
class Measured:
    """Training conditions with their effects.

    Attributes
    ----------
    conditions
        C of them.
    names
        Their names.
    scores, directions
        ``(C, R)`` and ``(R, G)``, whose product are the effects.
    masked, masked_directions
        The same for effects in which changes of targeted genes are replaced by their changes in other conditions.
    noise
        ``(C,)`` sampling variance of an effect, mean over genes.
    gene_noise
        ``(G,)`` sampling variance of a gene relative to that mean.
    """

    conditions: Conditions
    names: np.ndarray
    scores: np.ndarray
    directions: np.ndarray
    masked: np.ndarray
    masked_directions: np.ndarray
    noise: np.ndarray
    gene_noise: np.ndarray

    @classmethod
    def of(
        cls, ground: Ground, conditions: Conditions, names: np.ndarray, effects: np.ndarray, noise: np.ndarray
    ) -> Measured:
        """From effects and their sampling variances, both ``(C, G)``."""
        targeted = np.zeros(effects.shape, dtype=bool)
        for row, label in enumerate(conditions.labels()):
            places = ground.genes[list(label)]
            targeted[row, places[places >= 0]] = True
        others = np.ma.masked_array(effects, targeted).mean(0).filled(0.0) if len(effects) else 0.0
        whole, masked = _compressed(effects), _compressed(np.where(targeted, others, effects))
        mean = noise.mean() if noise.any() else 1.0
        of_genes = noise.mean(0) / mean if len(noise) else np.ones(noise.shape[1])
        return cls(conditions, np.asarray(names), *whole, *masked, noise.mean(1), of_genes)

    def __len__(self) -> int:
        """Number of conditions."""
        return len(self.names)

    @property
    def effects(self) -> np.ndarray:
        """``(C, G)`` effects."""
        return self.scores @ self.directions

    def denoised(self, ground: Ground) -> Measured:
        """The same with less sampling noise, see :func:`~scperturbrl.metrics.denoised_effects`."""
        noise = np.outer(self.noise, self.gene_noise)
        return self.of(ground, self.conditions, self.names, denoised_effects(self.effects, noise), noise)

    def select(self, index: np.ndarray) -> Measured:
        """Some of them."""
        return replace(
            self,
            conditions=self.conditions.select(index),
            names=self.names[index],
            scores=self.scores[index],
            masked=self.masked[index],
            noise=self.noise[index],
        )


# With more conditions, effects are reduced to their strongest directions, because the cost of fits is proportional to
# these.
_MOST_DIRECTIONS = 512


def _compressed(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(effects):
        return np.zeros((0, 0)), np.zeros((0, effects.shape[1]))
    u, s, vt = np.linalg.svd(effects, full_matrices=False)
    return u[:, :_MOST_DIRECTIONS] * s[:_MOST_DIRECTIONS], vt[:_MOST_DIRECTIONS]
