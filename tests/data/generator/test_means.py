from __future__ import annotations

import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.data.generator.means import N_AT_ONCE, N_CELLS, _flow_means
from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.condition_encoder import ConditionBatch
from scperturbrl.flow.generator import Generator


@pytest.fixture(scope="module")
def generator():
    made, rng = Generator(Architecture(6, 3, 20, 0, (), width=16, n_blocks=1)), torch_rng(0, "test")
    # the last layers start at zero, so that without this every velocity would be zero
    for parameter in made.network_parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return made


def singles(n):
    none = torch.zeros(n, 1)
    return ConditionBatch(
        tokens=torch.arange(1, n + 1)[:, None],
        features=torch.zeros(n, 1, 0),
        present=torch.ones(n, 1),
        dose=none[:, 0],
        covariates=torch.zeros(n, 0, dtype=torch.long),
        shift=none,
    )


@pytest.mark.parametrize("n", [3, 8, 17])
@torch.no_grad()
def test_means_of_the_flow_are_those_of_all_conditions_together(generator, n):
    """Although cells and codes are computed condition by condition."""
    batch, controls = singles(n), list(torch.randn(n, N_CELLS, 3, generator=torch_rng(0, "test")))
    wanted = torch.arange(n)[:: 2 if n > N_AT_ONCE else 1]
    found = _flow_means(generator, batch, wanted, controls, 0)
    for some, own in zip(wanted.split(N_AT_ONCE), found.split(N_AT_ONCE), strict=True):
        start, index = torch.cat([controls[i] for i in some]), some.repeat_interleave(N_CELLS)
        latent = generator.sample_latent(start, batch, index, torch_rng(0, "latent means"))
        torch.testing.assert_close(own, latent.view(len(some), N_CELLS, -1).mean(1), rtol=1e-5, atol=1e-6)
    assert found.unique(dim=0).shape == (len(wanted), 3)
