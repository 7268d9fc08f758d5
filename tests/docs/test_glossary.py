from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import scperturbrl as spr
from scperturbrl.get._read import labels

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "glossary.md").read_text(encoding="utf-8")
BODY = PAGE.split("```{glossary}\n")[1].split("\n```")[0]
TERMS = dict(entry.split("\n", 1) for entry in BODY.split("\n\n"))
LINK = re.compile(r":term:`(?:[^`<]*<)?([^`>]+)>?`|\{term\}`([^`]+)`")
WANTED = """condition, effect, reference, verifier, calibrated, reward, advantage, rollout, control cell, Systema,
replicate ceiling, interpolated duplicate, combination ridge, context line, energy distance, equal depth,
pseudo-reference, guard, self-check, skipped verifier, extra training""".replace("\n", " ").split(", ")


def linked(text):
    return {first or second for first, second in LINK.findall(text)}


def test_the_words_of_legends_and_tables_are_explained():
    assert {*WANTED} <= set(TERMS)
    assert list(TERMS) == sorted(TERMS, key=str.lower)
    assert linked(PAGE) <= set(TERMS)


@pytest.mark.parametrize("term", TERMS)
def test_an_explanation_is_short(term):
    text = " ".join(TERMS[term].split())
    assert text.endswith(".")
    assert len(re.findall(r"\.(?: |$)", text)) <= 3


@pytest.mark.parametrize(
    "name", [*(f"pl.{name}" for name in spr.pl.__all__), *(f"get.{name}" for name in spr.get.__all__)]
)
def test_docstrings_link_to_words_that_exist(name):
    room, name = name.split(".")
    function = getattr(getattr(spr, room), name)
    text = inspect.getdoc(function)
    assert linked(text) <= set(TERMS)
    if "return_fig" in inspect.signature(function).parameters:
        assert linked(text), "a plot links at least one of its words"


def test_it_is_in_the_table_of_contents():
    contents = (DOCS / "index.md").read_text(encoding="utf-8").split("```{toctree}")[1]
    assert "\nglossary\n" in contents


def test_labels_have_no_words_that_need_another_label():
    shown = " ".join(labels.model_label(name) for name in labels._MODELS)
    shown += " ".join(labels.metric_label(name) for name in spr.metrics.METRICS)
    for riddle in ("for as long", "duplicate", "Systema"):
        assert riddle not in shown
