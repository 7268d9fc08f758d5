from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from scperturbrl.verifiers import Reference, resolve
from scperturbrl.verifiers.registry import names

if TYPE_CHECKING:
    from collections.abc import Callable


SHARED = frozenset(item.name for own in resolve(names()) for item in own.prepares if item.scope == "all")


@dataclass(frozen=True)
class World:
    reference: Reference
    cells: torch.Tensor  # new real-like cells, (C, n, G)
    controls: torch.Tensor  # control-like cells, (C, n, G)
    bank_cells: torch.Tensor  # the bank with all genes, (C, M, G)


def optional_fields(rng, tensors, real, controls):
    C, G = tensors["effect"].shape
    projection = np.linalg.qr(rng.normal(size=(G, 6)))[0]
    group = np.arange(C) % 2
    regulon = rng.normal(size=(G, 5))
    regulon -= regulon.mean(0)
    regulon /= np.linalg.norm(regulon, axis=0)
    correlation = np.corrcoef(tensors["effect"], regulon.T)[:C, C:]
    landmarks = np.stack([controls[group == q].reshape(-1, G)[:25] @ projection for q in (0, 1)])
    targets = np.array([[tensors["ranked_genes"][c, -1], -1] for c in range(C)])
    return {
        "regulon": regulon,
        "regulon_response": correlation,
        "regulon_weight": np.abs(correlation),
        "regulon_scale": np.full((C, 5), 0.1),
        "targets": targets,
        "spread": controls.std(1),
        "quiet": np.abs(tensors["effect"]) < 0.1,
        "all_effects": tensors["effect"],
        "rivals": ~np.eye(C, dtype=bool),
        "projection": projection,
        "bank_points": real @ projection,
        "group": group,
        "landmarks": landmarks,
        "typical": np.tile([[4.5, 0.1], [0.9, 0.05], [1.0, 0.2]], (2, 1, 1)),
        "identity_weight": rng.normal(size=(G, 2)),
        "identity_bias": rng.normal(size=2),
    }


def build_world(seed=0, *, C=3, n=7, G=60, R=40, K=30, M=15, P=4, dtype=torch.float64) -> World:
    rng = np.random.default_rng(seed)
    control = rng.uniform(0.2, 2, (C, G))
    ranked = rng.permuted(np.tile(np.arange(G), (C, 1)), axis=1)[:, :R]
    effect = rng.normal(scale=0.02, size=(C, G))
    np.put_along_axis(effect, ranked, np.linspace(1.2, 0.2, R) * rng.choice([-1, 1], (C, R)), axis=1)

    def cells(mean: np.ndarray, number: int) -> np.ndarray:
        return np.maximum(mean[:, None] + rng.normal(scale=0.4, size=(C, number, G)), 0)

    controls, bank = cells(control, max(n, 30)), cells(control + effect, M)
    network = rng.normal(size=(G, P)) * (rng.random((G, P)) < 0.5)
    correlation = lambda x: np.array([[np.corrcoef(row, p)[0, 1] for p in network.T] for row in x]).reshape(len(x), P)
    response = correlation(effect)
    network = network - network.mean(0)
    tensors = {
        "control_mean": control,
        "effect": effect,
        "ranked_genes": ranked,
        "n_significant": rng.integers(0, R + 1, C),
        "bank": np.take_along_axis(bank, ranked[:, None, :K], axis=2),
        "network": network / np.linalg.norm(network, axis=0),
        "pathway_response": response,
        "pathway_weight": np.abs(response) * (np.abs(response) >= np.sort(np.abs(response))[:, P // 2 : P // 2 + 1]),
        "pathway_scale": np.array([correlation(x - c).std(0) for x, c in zip(controls, control, strict=True)]),
    }
    prepared = optional_fields(rng, tensors, cells(control + effect, M), controls)
    to_tensor = lambda x: torch.from_numpy(x) if x.dtype.kind in "ib" else torch.from_numpy(x).to(dtype)
    reference = Reference(
        tuple(f"gene{c}" for c in range(C)),
        **{k: to_tensor(x) for k, x in tensors.items()},
        prepared={k: to_tensor(x) for k, x in prepared.items()},
        shared=SHARED,
    )
    return World(reference, to_tensor(cells(control + effect, n)), to_tensor(controls[:, :n]), to_tensor(bank))


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    return build_world


@pytest.fixture(scope="session")
def world() -> World:
    return build_world()
