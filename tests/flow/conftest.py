from __future__ import annotations

import pytest
import torch

from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.condition_encoder import ConditionBatch
from scperturbrl.flow.generator import Generator

N_FEATURES, N_COVARIATE_VALUES = 4, (2, 3)


def build_batch(parts, *, features=None, dose=None, covariates=None, length=None):
    n, length = len(parts), length or max(1, *map(len, parts))
    tokens, present = torch.zeros(n, length, dtype=torch.long), torch.zeros(n, length)
    known = torch.zeros(n, length, 0 if features is None else features.shape[1])
    for row, members in enumerate(parts):
        for slot, token in enumerate(members):
            tokens[row, slot], present[row, slot] = token, 1
            if features is not None:
                known[row, slot] = features[token]
    return ConditionBatch(
        tokens=tokens,
        features=known,
        present=present,
        dose=torch.zeros(n) if dose is None else torch.tensor(dose, dtype=torch.float32),
        covariates=torch.zeros(n, 0, dtype=torch.long) if covariates is None else torch.tensor(covariates),
        shift=torch.zeros(n, 1),
    )


def build_generator(seed=0, *, n_genes=6, n_latent=3, n_tokens=3, trained=True, **sizes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        architecture = Architecture(n_genes, n_latent, n_tokens, 0, (), **{"width": 16, "n_blocks": 1, **sizes})
        generator = Generator(architecture, seed=seed)
        generator.space.components.copy_(torch.linalg.qr(torch.randn(*generator.space.components.shape)).Q)
        generator.space.mean.copy_(torch.rand(n_genes))
        generator.observation.intercept.normal_(1, 0.5)
        if architecture.space == "pca":
            generator.observation.loading.normal_(0, 0.2)
            generator.observation.residual[1:].normal_(0, 0.2)
        if trained:
            # the last layers start at zero, so that without this every velocity would be zero
            for parameter in generator.network_parameters():
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return generator


@pytest.fixture(scope="session")
def make_batch():
    return build_batch


@pytest.fixture(scope="session")
def make_generator():
    return build_generator
