from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import SafetensorError

from scperturbrl._core.files.checkpoint import read_directory, write_directory

FILES = ["conditions.csv", "config.json", "history.csv", "model.safetensors", "sha256sums.txt"]


def make_record(seed=0):
    rng = np.random.default_rng(seed)
    conditions = pd.DataFrame(
        {
            "perturbation": ["NA", "1", 'A,"B"\nC', "é∕z"],
            "dose": rng.normal(size=4),
            "n_cells": [1, 2, 3, 4],
            "split": "",
        },
        index=pd.Index(["NA", "nan", "2.0", ""], name="condition", dtype=object),
    )
    history = pd.DataFrame(
        {"step": [1, 2], "loss": [np.nan, 0.1 + 0.2], "huge": [np.inf, -1e-300], "good": [True, False]}
    )
    history.index = history.index.astype(str)
    return {
        "params": {"seed": 3, "none": None, "flag": True, "rate": 1e-3, "nested": {"names": ["a", "b"], "empty": {}}},
        "weights": {
            "layer.weight": rng.normal(size=(3, 4)).astype(np.float32),
            "scalar": np.float32(rng.normal()),
            "turned": rng.normal(size=(4, 3)).astype(np.float32).T,
        },
        "space": {
            "genes": np.array(["g1", "gé"]),
            "embeddings": pd.DataFrame(rng.normal(size=(2, 3)), index=["NA", "b"]),
        },
        "history": history,
        "conditions": conditions,
    }


@pytest.fixture
def saved(tmp_path):
    write_directory(tmp_path / "model", make_record(), overwrite=False)
    return tmp_path / "model"


def test_the_directory_holds_these_files_and_nothing_is_left_beside_it(saved):
    assert sorted(path.name for path in saved.iterdir()) == FILES
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_weights_come_back_bit_for_bit(saved):
    weights = read_directory(saved)["weights"]
    for name, value in make_record()["weights"].items():
        assert weights[name].dtype == np.float32
        np.testing.assert_array_equal(weights[name], value)


@pytest.mark.parametrize("name", ["history", "conditions"])
def test_tables_come_back_exactly(saved, name):
    pd.testing.assert_frame_equal(
        read_directory(saved)[name], make_record()[name], rtol=0, atol=0, check_index_type=False
    )


def test_settings_come_back(saved):
    record, back = make_record(), read_directory(saved)
    names = back["params"]["nested"].pop("names")
    assert names.tolist() == record["params"]["nested"].pop("names")
    assert back["params"] == record["params"]
    assert back["space"]["genes"].tolist() == ["g1", "gé"]
    expected = record["space"]["embeddings"]
    np.testing.assert_array_equal(back["space"]["embeddings"].to_numpy(), expected.to_numpy())
    assert list(back["space"]["embeddings"].index) == list(expected.index)
    assert set(back) == set(record)


@pytest.mark.parametrize("dtype", ["category", "string", "Int64", "float32", "int8"])
def test_other_column_types_come_back(tmp_path, dtype):
    record = make_record()
    record["conditions"]["more"] = pd.Series([3, 1, 2, 1], index=record["conditions"].index).astype(dtype)
    if dtype == "category":
        record["conditions"]["more"] = record["conditions"]["perturbation"].astype("category")
    write_directory(tmp_path / "m", record, overwrite=False)
    pd.testing.assert_frame_equal(
        read_directory(tmp_path / "m")["conditions"], record["conditions"], check_index_type=False
    )


def test_empty_tables_come_back(tmp_path):
    record = make_record() | {"history": pd.DataFrame()}
    write_directory(tmp_path / "m", record, overwrite=False)
    assert read_directory(tmp_path / "m")["history"].empty


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_checksums_are_those_of_sha256sum(saved):
    assert (
        subprocess.run(["sha256sum", "-c", "sha256sums.txt"], cwd=saved, capture_output=True, check=False).returncode
        == 0
    )


def refused(folder):
    with pytest.raises((ValueError, FileNotFoundError)):
        read_directory(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no file {name}"):
        read_directory(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused_wherever_it_ends(saved, name):
    content = (saved / name).read_bytes()
    for length in {0, 1, 7, 8, 9, 20, len(content) // 2, len(content) - 5, len(content) - 1}:
        (saved / name).write_bytes(content[:length])
        refused(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_refused_wherever_it_is(saved, name):
    content = (saved / name).read_bytes()
    for position in np.unique(np.linspace(0, len(content) - 1, 80).astype(int)):
        flipped = bytearray(content)
        flipped[position] ^= 0x01
        (saved / name).write_bytes(bytes(flipped))
        refused(saved)


@pytest.mark.parametrize("name", FILES)
def test_appended_bytes_are_refused(saved, name):
    with (saved / name).open("ab") as handle:
        handle.write(b"\n")
    refused(saved)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '"x"', "{}", '{"schema": 2}', '{"schema": [1]}', "\xff"])
def test_a_config_of_another_kind_is_refused(saved, text):
    (saved / "config.json").write_text(text, encoding="latin-1")
    refused(saved)


def test_an_unknown_schema_is_named_even_if_its_files_are_unknown_too(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"schema": 9}))
    with pytest.raises(ValueError, match="has schema 9; this version reads schema 1"):
        read_directory(saved)


def test_a_path_that_exists_is_not_overwritten_unasked(saved):
    with pytest.raises(FileExistsError, match="pass `overwrite=True`"):
        write_directory(saved, make_record(1), overwrite=False)
    np.testing.assert_array_equal(read_directory(saved)["weights"]["scalar"], make_record()["weights"]["scalar"])


def test_overwriting_replaces_everything(saved):
    write_directory(saved, make_record(1), overwrite=True)
    np.testing.assert_array_equal(read_directory(saved)["weights"]["scalar"], make_record(1)["weights"]["scalar"])
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_an_empty_folder_may_be_overwritten(tmp_path):
    write_directory(tmp_path, make_record(), overwrite=True)
    assert read_directory(tmp_path)["params"]["seed"] == 3


def test_a_folder_with_other_things_is_never_replaced(saved):
    (saved / "thesis.docx").write_text("irreplaceable")
    with pytest.raises(FileExistsError, match=r"thesis\.docx"):
        write_directory(saved, make_record(1), overwrite=True)
    assert (saved / "thesis.docx").read_text() == "irreplaceable"


def test_a_file_is_never_replaced(tmp_path):
    (tmp_path / "data.h5ad").write_text("cells")
    with pytest.raises(FileExistsError, match="is not replaced"):
        write_directory(tmp_path / "data.h5ad", make_record(), overwrite=True)


def test_missing_parents_are_made(tmp_path):
    write_directory(tmp_path / "a" / "b", make_record(), overwrite=False)
    assert read_directory(tmp_path / "a" / "b")["params"]["seed"] == 3


@pytest.mark.parametrize("broken", ["weights", "history", "params", "last rename"])
def test_a_failure_leaves_the_old_directory_and_no_rubbish(saved, broken, monkeypatch):
    record = make_record(1)
    if broken == "last rename":
        rename = Path.rename

        def fail(self, target):
            if self.name.endswith("-new"):
                raise OSError
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fail)
    else:
        record[broken] = {"a": object()}
    with pytest.raises((OSError, TypeError, AttributeError, SafetensorError)):
        write_directory(saved, record, overwrite=True)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_directory(saved)["weights"]["scalar"], make_record()["weights"]["scalar"])
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
