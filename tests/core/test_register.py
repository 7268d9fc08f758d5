from __future__ import annotations

import pytest

from scperturbrl._core.register import add


def test_a_name_is_taken_once_unless_it_is_to_be_replaced():
    table = {"one": 1}
    with pytest.raises(ValueError, match="A number named 'one' exists; choose another name, or pass overwrite=True"):
        add(table, "one", 2, what="a number", overwrite=False)
    assert table == {"one": 1}
    add(table, "one", 2, what="a number", overwrite=True)
    add(table, "two", 3, what="a number", overwrite=False)
    assert table == {"one": 2, "two": 3}
