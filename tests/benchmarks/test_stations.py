from __future__ import annotations

import importlib
import sys

import pytest
from benchmarks.stations import counted, stations

FILES = {
    "one": "from house import two\ndef first():\n    two.helper()\n    last()\n    two.helper()\n    return [two.other() for _ in range(3)]\ndef last():\n    return max([1], key=lambda x: x)\n",
    "two": "def helper():\n    pass\ndef other():\n    pass\n",
}


@pytest.fixture
def house(tmp_path, monkeypatch):
    (tmp_path / "house").mkdir()
    for name, text in {"__init__": "", **FILES}.items():
        (tmp_path / "house" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("house.one"), tmp_path / "house"
    for name in [name for name in sys.modules if name.split(".")[0] == "house"]:
        del sys.modules[name]


def test_each_function_is_read_once_where_it_is_first_called(house):
    module, folder = house
    road = stations(module.first, folder)
    # the second call of the helper leads nowhere new
    assert road == ["one.py", "two.py", "one.py", "two.py"]
    assert counted(road) == {"files entered": 2, "returns": 2}


def test_the_profile_of_others_is_restored_after_an_error():
    def fail():
        raise RuntimeError

    before = sys.getprofile()
    with pytest.raises(RuntimeError):
        stations(fail)
    assert sys.getprofile() is before
