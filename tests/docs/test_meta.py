from __future__ import annotations

import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = {"type": "string", "minLength": 1}
# an address on Read the Docs names no version, or it would go out of date
ADDRESS = {"type": "string", "pattern": r"^https://(?!.*/en/(latest|stable)/)\S+$"}
WORDS = {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True}
# What scverse/ecosystem-packages asks of an entry since August 2026: a category, a language and tags of a closed
# list instead of free tags and a version. Of that list only the words that fit this package are repeated here.
TAGS = [
    "scRNA-seq",
    "perturbation",
    "deep learning",
    "functional analysis",
    "benchmarking",
    "GPU acceleration",
    "optimal transport",
    "probabilistic modeling",
    "differential expression",
    "dimensionality reduction",
    "visualization",
    "data integration",
    "denoising",
    "preprocessing",
    "quality control",
]
RULES = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "project_home": ADDRESS,
        "documentation_home": ADDRESS,
        "tutorials_home": ADDRESS,
        "install": {
            "type": "object",
            "properties": {"pypi": TEXT, "conda": {"type": "string", "pattern": "(.*)::(.*)"}},
            "minProperties": 1,
            "additionalProperties": False,
        },
        "primary_category": {"enum": ["scRNA-seq", "bulk RNA-seq", "Data structures", "Infrastructure"]},
        "tags": {"type": "array", "items": {"enum": TAGS}, "minItems": 1, "maxItems": 10, "uniqueItems": True},
        "publications": {**WORDS, "items": {"type": "string", "pattern": r"^10.\d{4,9}\/[-._;()\/:A-Za-z0-9]+$"}},
        "license": {"enum": ["Apache-2.0", "BSD-3-Clause", "MIT"]},
        "language": {"enum": ["Python", "R", "Julia", "Rust", "C++"]},
        "contact": WORDS,
        "logo": {"type": "string", "pattern": r"logo\.(svg|png|webp)"},
        "test_command": TEXT,
        "category": {"enum": ["core-framework", "core-datastructure", "core-infrastructure", "ecosystem"]},
    },
    "required": [
        "name",
        "description",
        "project_home",
        "documentation_home",
        "install",
        "primary_category",
        "tags",
        "license",
        "language",
        "contact",
        "category",
    ],
    "additionalProperties": False,
}


@pytest.fixture
def entry():
    return yaml.safe_load((ROOT / "docs" / "meta.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_entry_follows_the_rules_of_the_listing(entry):
    jsonschema.validate(entry, RULES)
    assert entry["category"] == "ecosystem"  # the only one that can be asked for
    assert entry["primary_category"] in entry["tags"]
    assert entry["description"].count(". ") + 1 <= 2  # one or two sentences


@pytest.mark.parametrize(
    "change",
    [
        {"language": "python"},
        {"version": "0.1.0"},
        {"tags": ["single-cell"]},
        {"tags": []},
        {"tags": TAGS[:11]},
        {"category": "community"},
        {"tutorials_home": "https://scperturbrl.readthedocs.io/en/latest/tutorials.html"},
        {"test_command": None},
    ],
    ids=lambda change: "-".join(change),
)
def test_the_rules_refuse_what_the_listing_refuses(entry, change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(entry | change, RULES)


def test_it_says_what_the_package_says(entry, project):
    assert entry["name"] == entry["install"]["pypi"] == project["name"]
    assert entry["license"] == project["license"]
    assert entry["project_home"] == project["urls"]["Source"]
    assert entry["documentation_home"] == project["urls"]["Documentation"]
    assert ".[test]" in entry["test_command"]
    assert "test" in project["optional-dependencies"]


def test_the_version_stands_in_one_place(project):
    """Where it is read: the installed package, the documentation and the citation all take it from there."""
    version = project["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert "version" not in citation
    written = [ROOT / "docs" / "conf.py", ROOT / "docs" / "meta.yaml", *(ROOT / "src").rglob("*.py")]
    assert [file.name for file in written if f'"{version}"' in file.read_text(encoding="utf-8")] == []
