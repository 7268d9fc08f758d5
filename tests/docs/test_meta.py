from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIRED = {"name", "description", "project_home", "documentation_home", "license", "tags", "primary_category"}
REQUIRED |= {"install", "language", "category", "contact", "version"}


@pytest.fixture
def entry():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "docs" / "meta.yaml").read_text(encoding="utf-8"))


def test_everything_that_the_listing_wants_is_there(entry):
    assert set(entry) >= REQUIRED
    assert all(entry[name] for name in REQUIRED)
    assert 1 <= len(entry["tags"]) == len(set(entry["tags"])) <= 10
    assert entry["category"] == "ecosystem"


def test_it_says_what_the_package_says(entry):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert entry["name"] == entry["install"]["pypi"] == project["name"]
    assert (entry["version"], entry["license"]) == (project["version"], project["license"])
    assert entry["project_home"] == project["urls"]["Source"]
    assert entry["documentation_home"] == project["urls"]["Documentation"]
    assert ".[test]" in entry["test_command"]
    assert "test" in project["optional-dependencies"]
