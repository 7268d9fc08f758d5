from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

import scperturbrl as spr

SMALL = {"width": 16, "n_latent": 6, "n_blocks": 1, "batch_size": 32}
FIT = {**SMALL, "n_steps": 600, "progress": False}
RL = {"n_iterations": 40, "n_conditions": 2, "group_size": 4, "energy_steps": 1, "guard": False, "progress": False}
VERBS = {"fit_generator": FIT, "rl_finetune": RL}

CHILD = """
import sys, warnings
import anndata, torch
warnings.simplefilter("ignore")
torch.set_num_threads(1)
import scperturbrl as spr
verb, data, folder, options = sys.argv[1:]
getattr(spr.tl, verb)(anndata.read_h5ad(data), checkpoint_dir=folder, resume=True, **eval(options))
"""


def same(one, other):
    assert one["weights"].keys() == other["weights"].keys()
    for name, value in one["weights"].items():
        np.testing.assert_array_equal(value, other["weights"][name], err_msg=name)
    pd.testing.assert_frame_equal(one["history"], other["history"], rtol=0, atol=0)
    for name in ("best_step", "kept_iteration", "alarms", "stopped", "skipped_steps"):
        assert one["fitted"].get(name) == other["fitted"].get(name)


def start(verb, data, folder):
    command = [sys.executable, "-c", CHILD, verb, str(data), str(folder), repr(VERBS[verb])]
    root = Path(spr.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def kill_at_a_random_step(child, file):
    deadline = time.monotonic() + 600
    while not file.exists():
        assert child.poll() is None, child.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(np.random.default_rng().uniform(0, 0.2))
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()
    assert child.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def killed(fitted_toy, tmp_path_factory):
    """Both verbs, each killed in a process of its own while it was at work."""
    folder = tmp_path_factory.mktemp("killed")
    adata = fitted_toy.copy()
    adata.write_h5ad(folder / "data.h5ad")
    children = {verb: start(verb, folder / "data.h5ad", folder / verb) for verb in VERBS}
    for verb, child in children.items():
        kill_at_a_random_step(child, folder / verb / f"{verb}.safetensors")
    return folder


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL here")
@pytest.mark.parametrize("verb", VERBS)
def test_a_killed_run_resumes_bit_for_bit(killed, verb):
    adata, call = ad.read_h5ad(killed / "data.h5ad"), getattr(spr.tl, verb)
    call(adata, checkpoint_dir=killed / verb, resume=True, key_added="resumed", **VERBS[verb])
    call(adata, key_added="whole", **VERBS[verb])
    same(adata.uns["whole"], adata.uns["resumed"])


def steps_in(folder, verb):
    with safe_open(folder / f"{verb}.safetensors", framework="numpy") as file:
        progress = json.loads(file.metadata()["content"])["state"]["progress"]
    return progress["done"]


@pytest.mark.parametrize(
    ("verb", "options", "patched"),
    [
        ("fit_generator", {**SMALL, "n_steps": 150}, "scperturbrl.flow.training.fit.flow_matching_loss"),
        ("rl_finetune", {**RL, "n_iterations": 11, "guard": True}, "scperturbrl.rl.finetuner.condition_advantage"),
    ],
)
@pytest.mark.parametrize("after", [7, 113, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 150, 15))])
def test_an_interrupted_run_resumes_bit_for_bit(fitted, tmp_path, monkeypatch, verb, options, patched, after):
    module, name = patched.rsplit(".", 1)
    original, calls = getattr(importlib.import_module(module), name), []
    after = after if verb == "fit_generator" else after % 8

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == after:
            timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            timer.join()
        return original(*arguments, **options)

    call = getattr(spr.tl, verb)
    call(fitted, key_added="whole", **options)
    monkeypatch.setattr(patched, interrupted)
    call(fitted, key_added="part", checkpoint_dir=tmp_path, **options)
    assert fitted.uns["part"]["fitted"]["stopped"] == "interrupted"
    assert steps_in(tmp_path, verb) in {after, after - 1}
    monkeypatch.undo()
    call(fitted, key_added="resumed", checkpoint_dir=tmp_path, resume=True, **options)
    same(fitted.uns["whole"], fitted.uns["resumed"])


def test_a_finished_run_is_not_run_again(fitted, tmp_path, monkeypatch):
    for verb, options in (("fit_generator", {**SMALL, "n_steps": 20}), ("rl_finetune", {**RL, "n_iterations": 3})):
        call = getattr(spr.tl, verb)
        call(fitted, key_added="first", checkpoint_dir=tmp_path, **options)
        with monkeypatch.context() as patch:
            patch.setattr("scperturbrl.flow.training.finite_steps.FiniteSteps.step", lambda *_: 1 / 0)
            call(fitted, key_added="again", checkpoint_dir=tmp_path, resume=True, **options)
        same(fitted.uns["first"], fitted.uns["again"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit_generator.safetensors", "rl_finetune.safetensors"]


@pytest.mark.parametrize(
    ("verb", "change", "spoil", "message"),
    [
        ("fit_generator", {"seed": 1}, None, "`seed` was 0, now it is 1"),
        ("fit_generator", {"width": 8}, None, "`width` was 16, now it is 8"),
        ("fit_generator", {}, "expression", "`expression` was"),
        ("fit_generator", {}, "split", "`conditions and split` was"),
        ("rl_finetune", {"anchor": 2.0}, None, r"`anchor` was 0\.1, now it is 2\.0"),
        ("rl_finetune", {"verifiers": ["pearson_topk"]}, None, "`(calibration|verifiers|weights)` was"),
        ("rl_finetune", {}, "weights", "`pretrained generator` was"),
    ],
)
def test_other_settings_or_data_are_no_continuation(fitted, tmp_path, verb, change, spoil, message):
    options = {"fit_generator": {**SMALL, "n_steps": 5}, "rl_finetune": {**RL, "n_iterations": 1}}[verb]
    getattr(spr.tl, verb)(fitted, checkpoint_dir=tmp_path, key_added="new", **options)
    if spoil == "expression":
        fitted.X.data[0] *= 1.5
    elif spoil == "split":
        spr.pp.split(fitted, seed=1)
        spr.pp.reference(fitted)
    elif spoil == "weights":
        fitted.uns["generator"]["weights"]["space.mean"][0] += 1
    with pytest.raises(ValueError, match=f"state of another run: {message}"):
        getattr(spr.tl, verb)(fitted, checkpoint_dir=tmp_path, resume=True, **options | change)


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_stops_with_the_last_state_intact(fitted, tmp_path, monkeypatch, verb):
    options = {"fit_generator": {**SMALL, "n_steps": 205}, "rl_finetune": {**RL, "n_iterations": 11}}[verb]
    call, before = getattr(spr.tl, verb), set(fitted.uns)
    monkeypatch.setattr("scperturbrl._core.files.run_file.RunFile.is_due", lambda self: True)
    sync, calls = os.fsync, []

    def full(handle):
        calls.append(1)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left.*written before is intact.*resume=True"):
            call(fitted, key_added="new", checkpoint_dir=tmp_path, **options)
    assert set(fitted.uns) == before
    call(fitted, key_added="resumed", checkpoint_dir=tmp_path, resume=True, **options)
    call(fitted, key_added="whole", **options)
    same(fitted.uns["whole"], fitted.uns["resumed"])


@pytest.mark.parametrize("verb", VERBS)
def test_a_state_there_or_a_place_not_to_write_to_is_told_first(fitted, tmp_path, verb):
    call = getattr(spr.tl, verb)
    (tmp_path / f"{verb}.safetensors").write_bytes(b"something")
    with pytest.raises(FileExistsError, match="resume=True"):
        call(fitted, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="damaged"):
        call(fitted, checkpoint_dir=tmp_path, resume=True)
    with pytest.raises(OSError, match="cannot be written to"):
        call(fitted, checkpoint_dir=tmp_path / f"{verb}.safetensors" / "below")
    with pytest.raises(ValueError, match="needs `checkpoint_dir`"):
        call(fitted, resume=True)
