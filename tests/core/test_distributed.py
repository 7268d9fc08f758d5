from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl._core import distributed
from scperturbrl._core.distributed import World, joined, mean_of_all, shared_draws

ROOT = Path(__file__).parents[2]
WORK = """
import sys
import anndata as ad
from tests.core.test_distributed import train
train(ad.read_h5ad(sys.argv[1]), sys.argv[2], progress=True)
"""


SIZES = {"width": 16, "n_latent": 6, "n_blocks": 1, "batch_size": 65}


def train(adata, folder, *, progress=False):
    # cells of a step, and conditions of a round, that two processes cannot share evenly
    spr.tl.fit_generator(adata, n_steps=40, checkpoint_dir=folder, progress=progress, **SIZES)
    # from weights that are the same to the last digit, for one count more or less changes all later draws
    spr.tl.rl_finetune(adata, key="start", n_iterations=4, n_conditions=5, group_size=8, guard=False, progress=False)
    keys = ("generator", "generator_rl")
    weights = {f"{key}/{name}": value for key in keys for name, value in adata.uns[key]["weights"].items()}
    np.savez(folder + "/weights.npz", history=adata.uns["generator_rl"]["history"].to_numpy(float), **weights)


def start(path, folder, rank, port):
    folder.mkdir()
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    place |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", WORK, str(path), str(folder)]
    return subprocess.Popen(command, env=os.environ | place, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# the other processes do not see what conftest changes
@pytest.mark.usefixtures("all_cells_for_means")
def test_two_processes_give_the_weights_of_one(toy, tmp_path):
    spr.tl.fit_generator(toy, n_steps=20, key_added="start", progress=False, **SIZES)
    toy.write_h5ad(tmp_path / "a.h5ad")
    port, names = free_port(), ("first", "second")
    running = [start(tmp_path / "a.h5ad", tmp_path / name, rank, port) for rank, name in enumerate(names)]
    (tmp_path / "one").mkdir()
    train(toy, str(tmp_path / "one"))
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    one, first, second = (np.load(tmp_path / name / "weights.npz") for name in ("one", *names))
    start_weights = toy.uns["start"]["weights"]
    velocity = [name for name in start_weights if name.startswith("velocity")]
    assert max(np.abs(one[f"generator_rl/{name}"] - start_weights[name]).max() for name in velocity) > 1e-4
    for name in one:
        # what is only reported may differ in its last bit
        np.testing.assert_allclose(first[name], second[name], rtol=1e-6 if name == "history" else 0)
        # means of drawn cells, of which one may have one count more
        atol = 1e-2 if name.endswith(("linear.trained_shift", "observation.intercept")) else 1e-5
        np.testing.assert_allclose(first[name], one[name], rtol=1e-3, atol=atol, err_msg=name)
    # the first one shows progress and writes the state of the run
    assert "fitting the generator" in said[0]
    assert not said[1]
    written = [(tmp_path / name / "fit_generator.safetensors").exists() for name in names]
    assert written == [True, False]


@pytest.fixture
def third_of_three(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: World(2, 3))


def test_shares_cover_everything_once():
    parts = [World(rank, 3).share(11) for rank in range(3)]
    assert np.concatenate([np.arange(11)[part] for part in parts]).tolist() == list(range(11))
    with pytest.raises(ValueError, match="3 processes cannot share 2"):
        World(0, 3).share(2)


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, rng: torch.rand(n, generator=rng),
        lambda n, rng: torch.rand(n, 4, generator=rng),
        lambda n, rng: torch.randn((n * 3, 2), generator=rng),
        lambda n, rng: torch.randn(torch.Size([n, 2]), generator=rng),
        lambda n, rng: torch.randint(9, (n,), generator=rng),
        lambda n, rng: torch.randint(3, 9, (n, 2), generator=rng),
    ],
)
def test_shared_draws_are_rows_of_what_one_process_draws(third_of_three, draw):
    n, own = 11, World(2, 3).share(11)
    rng, alone = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    with shared_draws(n):
        mine = draw(own.stop - own.start, rng)
    whole = draw(n, alone)
    each = len(whole) // n
    assert torch.equal(mine, whole[each * own.start : each * own.stop])
    assert torch.equal(rng.get_state(), alone.get_state())


def test_other_draws_stay_as_they_are(third_of_three):
    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    with shared_draws(11):
        assert torch.equal(torch.rand(4), expected)


def test_alone_nothing_changes():
    values = torch.arange(4.0, requires_grad=True)
    assert mean_of_all(values) == values.mean()
    assert joined(values) is values
    assert distributed.of_first({"a": 1.5}) == {"a": 1.5}
    assert distributed.any_of_all(flag=False) is False
    assert distributed.join() == World(0, 1)
