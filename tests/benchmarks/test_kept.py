from __future__ import annotations

import importlib.util
import multiprocessing

import numpy as np
import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks import kept


def rows(seed, arm, values):
    return pd.DataFrame({"seed": seed, "arm": arm, "condition": ["NA", "b"], "value": values})


def test_rows_of_a_cell_are_replaced_and_others_stay(tmp_path):
    file = kept.table_file(tmp_path, "a")
    for table in (rows(1, "x", [1.0, 2.0]), rows(0, "y", [3.0, 4.0]), rows(10, "x", [5.0, 6.0])):
        kept.add(table, file, keys=["seed", "arm"])
    kept.add(rows(1, "x", [np.nan, 9.0]), file, keys=["seed", "arm"])
    found = kept.read(file)
    assert found["seed"].tolist() == [0, 0, 1, 1, 10, 10]
    np.testing.assert_array_equal(found["value"], [3, 4, np.nan, 9, 5, 6])
    assert found["condition"].tolist() == ["NA", "b"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv.gz"]


def test_the_order_of_adding_does_not_matter(tmp_path):
    parts = [rows(seed, arm, [seed + 1 / 3, 2.0]) for seed in (0, 1) for arm in "xy"]
    for name, order in (("a", parts), ("b", parts[::-1])):
        for part in order:
            kept.add(part, kept.table_file(tmp_path, name), keys=["seed", "arm"])
    assert kept.table_file(tmp_path, "a").read_bytes() == kept.table_file(tmp_path, "b").read_bytes()


def test_a_cell_is_there_or_not(tmp_path):
    file = kept.table_file(tmp_path, "a")
    assert not kept.has(kept.read(file), seed=0, arm="x")
    kept.add(rows(0, "x", [1, 2]), file, keys=["seed", "arm"])
    assert kept.has(kept.read(file), seed=0, arm="x")
    assert not kept.has(kept.read(file), seed=1, arm="x")
    assert not kept.has(kept.read(file), seed=0, arm="y")


def _add(folder, seed):
    for arm in "abcde":
        kept.add(rows(seed, arm, [1.0, 2.0]), kept.table_file(folder, "a"), keys=["seed", "arm"])


def test_runs_at_the_same_time_lose_nothing(tmp_path):
    workers = [multiprocessing.get_context("fork").Process(target=_add, args=(tmp_path, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(kept.read(kept.table_file(tmp_path, "a"))) == 3 * 5 * 2
