from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

import scperturbrl as spr


@pytest.fixture
def saved(fitted, tmp_path):
    spr.tl.save_generator(fitted, tmp_path / "model")
    return tmp_path / "model"


def test_a_directory_brings_back_the_same_generator(fitted, saved):
    spr.tl.load_generator(fitted, saved, key_added="loaded")
    one, other = fitted.uns["generator"], fitted.uns["loaded"]
    assert one["weights"].keys() == other["weights"].keys()
    assert all(np.array_equal(one["weights"][name], other["weights"][name]) for name in one["weights"])
    history = [record["history"].reset_index(drop=True) for record in (one, other)]
    pd.testing.assert_frame_equal(*history, check_dtype=False, check_index_type=False)
    pd.testing.assert_frame_equal(
        one["conditions"], other["conditions"], check_dtype=False, check_names=False, check_index_type=False
    )
    for key in ("generator", "loaded"):
        spr.tl.generate(fitted, key=key)
    assert (fitted.layers["generator"] != fitted.layers["loaded"]).nnz == 0


def test_a_post_trained_one_too(fitted, tmp_path):
    spr.tl.rl_finetune(fitted, n_iterations=1, n_conditions=2, group_size=2)
    spr.tl.save_generator(fitted, tmp_path / "rl", key="generator_rl")
    spr.tl.load_generator(fitted, tmp_path / "rl", key_added="again")
    one, other = (fitted.uns[key]["params"] for key in ("generator_rl", "again"))
    assert other["parent"] == "generator"
    assert set(one) == set(other)
    table = spr.tl.evaluate(fitted, keys=["again"], n_cells=20)
    assert "rewarded" in set(table["role"])


def test_files_are_plain(saved):
    names = {file.name for file in saved.iterdir()}
    assert names >= {"conditions.csv", "config.json", "history.csv", "model.safetensors"}
    assert {name.rsplit(".")[-1] for name in names} <= {"csv", "json", "safetensors", "txt"}
    assert json.loads((saved / "config.json").read_text())["schema"] == 1


def test_nothing_is_overwritten_unless_asked_for(fitted, saved):
    with pytest.raises(FileExistsError, match=r"model exists.*overwrite=True"):
        spr.tl.save_generator(fitted, saved)
    spr.tl.save_generator(fitted, saved, overwrite=True)


def test_a_failed_save_leaves_nothing(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr("json.dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        spr.tl.save_generator(fitted, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def spoil_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["space.mean"][0] = np.nan
    save_file(weights, folder / "model.safetensors")


def spoil_schema(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"schema": 99}))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda folder: (folder / "history.csv").unlink(), FileNotFoundError, r"no file history\.csv"),
        (lambda folder: (folder / "config.json").write_text("{"), ValueError, "damaged"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"1234"), ValueError, "damaged"),
        (spoil_weight, ValueError, "damaged|not finite"),
        (spoil_schema, ValueError, "damaged|schema 99"),
    ],
)
def test_damaged_directories_are_refused(fitted, saved, spoil, error, message):
    spoil(saved)
    with pytest.raises(error, match=message):
        spr.tl.load_generator(fitted, saved, key_added="loaded")
    assert "loaded" not in fitted.uns


def test_other_genes_and_keys_are_refused(fitted, saved, tmp_path):
    with pytest.raises(ValueError, match="in another order"):
        spr.tl.load_generator(fitted[:, ::-1].copy(), saved)
    with pytest.raises(KeyError, match=r"no generator 'genrator'.*'generator'"):
        spr.tl.save_generator(fitted, tmp_path / "other", key="genrator")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        spr.tl.load_generator(fitted, tmp_path / "nowhere")
