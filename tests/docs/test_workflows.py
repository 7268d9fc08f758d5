from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
FORMS = [ROOT / ".github" / "ISSUE_TEMPLATE" / name for name in ("bug_report.yml", "feature_request.yml")]
READTHEDOCS = ROOT / ".readthedocs.yaml"


def load(path):
    # YAML 1.1 reads the key `on` as true
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text()).items()}


def steps(path):
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


@pytest.fixture(scope="module")
def settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_says_when_where_and_what(path):
    workflow = load(path)
    assert {"name", "on", "permissions", "jobs"} <= set(workflow)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "runs-on" in job
        assert job["steps"]
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        assert "@" in step.get("uses", "@")
        assert not re.search(r"\$\{\{\s*github\.event", step.get("run", "")), "what others write is passed by `env`"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_shell_reads_every_step(path):
    for step in steps(path):
        script = re.sub(r"\$\{\{.*?\}\}", "value", step.get("run", ""))
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_tests_run_on_every_line_that_is_supported(settings):
    matrix = load(ROOT / ".github" / "workflows" / "test.yaml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    kinds = {(one["python"], one["resolution"], one["prerelease"]) for one in matrix}
    assert {
        ("3.11", "lowest-direct", "disallow"),
        ("3.12", "highest", "disallow"),
        ("3.14", "highest", "disallow"),
        ("3.14", "highest", "allow"),
    } == kinds
    classifiers = settings["project"]["classifiers"]
    assert all(f"Programming Language :: Python :: {one['python']}" in classifiers for one in matrix)
    named = [word for one in matrix for word in one["pytest"].split() if word.startswith("tests/")]
    assert named
    assert all((ROOT / name).exists() for name in named)


def test_what_is_installed_exists(settings):
    files = [*WORKFLOWS, READTHEDOCS]
    groups = {name for file in files for name in re.findall(r"--group (\w+)", file.read_text())}
    assert groups == {"build", "dev", "doc", "test"}
    assert groups <= set(settings["dependency-groups"])


def test_extras_and_groups_ask_for_the_same(settings):
    groups, extras = settings["dependency-groups"], settings["project"]["optional-dependencies"]
    shared = set(groups) & set(extras)
    assert {"test", "doc", "dev"} <= shared
    for name in ("test", "doc"):
        assert groups[name] == extras[name]
    found = [*groups["dev"], *groups["typecheck"]]
    assert all(requirement in found for requirement in extras["dev"])
    included = {one["include-group"] for one in groups["dev"] if isinstance(one, dict)}
    assert included <= set(groups)


def test_only_the_upload_may_ask_for_an_identity():
    jobs = load(ROOT / ".github" / "workflows" / "release.yaml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "permissions" not in jobs["build"]
    assert not any("run" in step for step in jobs["publish"]["steps"])


@pytest.mark.parametrize(
    ("path", "schema"),
    [(path, "github-workflows") for path in WORKFLOWS]
    + [(path, "github-issue-forms") for path in FORMS]
    + [(READTHEDOCS, "readthedocs"), (ROOT / "CITATION.cff", "citation-file-format")],
    ids=lambda value: getattr(value, "stem", value),
)
def test_the_published_schema_accepts_it(path, schema):
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_documentation_is_built_where_others_can_be_linked():
    assert "-t online" in READTHEDOCS.read_text()
    assert "intersphinx" in (ROOT / "docs" / "conf.py").read_text()


def test_how_to_make_a_release_is_written_down():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\d\. ", page.split("## Making a release")[1], re.MULTILINE)
    assert len(steps) >= 5
    assert "release.yaml" in page
