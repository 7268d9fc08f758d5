from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import warnings
from pathlib import Path

import pytest

import scperturbrl as spr


class Finder(doctest.DocTestFinder):
    def _from_module(self, module, object):
        # a decorated function belongs to the module that it was written in
        return super()._from_module(module, inspect.unwrap(object))


def examples():
    for module in pkgutil.walk_packages(spr.__path__, "scperturbrl."):
        if not module.name.endswith("__main__"):
            found = Finder(exclude_empty=True).find(importlib.import_module(module.name))
            yield from (
                pytest.param(test, id=test.name.removeprefix("scperturbrl.")) for test in found if test.examples
            )


pytestmark = pytest.mark.usefixtures("no_traces", "all_cells_for_means")


@pytest.mark.parametrize("test", list(examples()))
def test_examples_run_and_show_what_they_say(test):
    with warnings.catch_warnings():
        # a run of a few steps may set off the guard
        warnings.simplefilter("ignore", UserWarning)
        failed, tried = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(test)
    assert tried
    assert failed == 0


def test_no_line_of_a_table_was_joined_with_its_text():
    # a tool that wraps lines makes prose of a table: its rules then stand behind words
    joined = [
        f"{file.name}:{number}"
        for file in Path(spr.__file__).parent.rglob("*.py")
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"[a-z] ={6,}[ =]*$", line)
    ]
    assert joined == []
