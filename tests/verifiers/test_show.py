from __future__ import annotations

import pandas as pd
import pytest

import scperturbrl as spr
from scperturbrl.verifiers import registry


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))


def brightness():
    return spr.verifiers.Verifier(
        name="brightness",
        score=lambda cells, reference: cells.mean(-1),
        label="Brightness <b>",
        description="Mean expression " + "of the cell, " * 20 + "to the end.",
        range=(0.0, float("inf")),
        differentiable=False,
    )


def test_it_is_a_table_of_all_verifiers():
    spr.verifiers.register(brightness)
    table = spr.verifiers.show()
    assert isinstance(table, pd.DataFrame)
    assert table["name"].tolist() == spr.verifiers.names()
    last = table.iloc[-1]
    assert (last["range"], last["needs"], last["differentiable"]) == ((0.0, float("inf")), (), False)


def test_text_is_whole_and_within_the_width():
    spr.verifiers.register(brightness)
    text = repr(spr.verifiers.show())
    block = text[text.index("brightness") :]
    assert "to the end." in block
    assert "[0, inf)" in block
    assert "nothing" in block
    assert max(map(len, text.splitlines())) <= 100


def test_html_has_a_row_each_and_is_escaped():
    spr.verifiers.register(brightness)
    html = spr.verifiers.show()._repr_html_()
    assert html.count("<tr>") == 1 + len(spr.verifiers.names())
    assert "Brightness &lt;b&gt;" in html
    assert "to the end." in html


def test_parts_of_it_are_ordinary_tables():
    part = spr.verifiers.show()[["name", "label"]]
    assert type(part) is pd.DataFrame
    assert "rmse_topk" in repr(part)
