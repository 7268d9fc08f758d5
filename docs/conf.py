"""Configuration of the documentation. It is built offline: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import shutil
import sys
import warnings
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.ext.napoleon import NumpyDocstring

import scperturbrl as spr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx

# one line for every docstring, about a method that sphinx-autodoc-typehints will have to replace
warnings.filterwarnings("ignore", message=".*set_application.*")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
GENERATED = HERE / "generated"

project = "scperturbrl"
author = "The scperturbrl developers"
copyright = f"2026, {author}"
version = release = installed_version("scperturbrl")

extensions = [
    "mathml",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]

templates_path = ["_templates"]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints", "generated/_*.md", "README.md"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}

# Names of others link to their documentation in a build with `-t online`, which downloads their inventories.
if tags.has("online"):  # noqa: F821 - Sphinx defines it
    extensions.append("sphinx.ext.intersphinx")
intersphinx_mapping = {
    "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
    "decoupler": ("https://decoupler.readthedocs.io/en/latest/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "mudata": ("https://mudata.readthedocs.io/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/docs/", None),
    "pertpy": ("https://pertpy.readthedocs.io/en/stable/", None),
    "python": ("https://docs.python.org/3/", None),
    "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}

# names of this package must resolve; those of others need their inventories, which an offline build does not have
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!scperturbrl\.).*"), ("py:.*", r"scperturbrl\.(_core|data|flow|rl)\..*")]

# notebooks are committed with their outputs
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False
typehints_defaults = "braces"
always_use_bars_union = True
typehints_document_rtype_none = False

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# browsers show MathML by themselves; MathJax would come from a CDN
html_math_renderer = "mathml"
myst_update_mathjax = False

html_theme = "sphinx_book_theme"
html_title = f"scperturbrl {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_extra_path = ["llms.txt"]
html_theme_options = {
    "repository_url": "https://github.com/scperturbrl/scperturbrl",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "show_toc_level": 2,
    "navbar_persistent": [],
}
html_show_sphinx = False


def _returns_as_prose(self: NumpyDocstring, section: str) -> list[str]:
    """Keep what a Returns section says as prose; its type comes from the annotation."""
    del section
    text = self._dedent(self._consume_to_next_section())
    # sphinx-autodoc-typehints puts a colon there, meant for the parser that this replaces
    text = text[1:] if text and text[0].strip() == ":" else text
    lines = self._format_block(":returns: ", text)
    return [*lines, ""] if lines else []


NumpyDocstring._parse_returns_section = _returns_as_prose


def _copy_notebooks(app: Sphinx) -> None:
    """Bring the tutorials into the source tree, where Sphinx can see them."""
    del app
    target = HERE / "tutorials"
    target.mkdir(exist_ok=True)
    for notebook in sorted((HERE.parent / "tutorials").glob("*.ipynb")):
        copy = target / notebook.name
        if not copy.exists() or copy.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copy)


def _write_tables(app: Sphinx) -> None:
    """Write the tables of verifiers, metrics and AnnData slots that pages include, so that they follow the code."""
    del app
    GENERATED.mkdir(exist_ok=True)
    verifiers = [
        (
            f"`{v.name}`",
            v.label,
            f"[{v.range[0]:g}, {v.range[1]:g}]",
            "yes" if v.differentiable else "no",
            v.description,
        )
        for v in spr.verifiers.resolve(spr.verifiers.DEFAULT)
    ]
    _write("_verifiers.md", ("Name", "Label", "Range", "Gradient", "Measures"), verifiers)
    direction = {True: "higher", False: "lower", None: f"near {1:g}"}
    metrics = [
        (f"`{m.name}`", direction[m.higher_is_better], m.description, m.source) for m in spr.metrics.METRICS.values()
    ]
    _write("_metrics.md", ("Name", "Better", "Compares", "Source"), metrics)
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        found = HERE.parent / name
        missing = f"# {name[:-3].capitalize()}\n\n`{name}` is not part of this checkout.\n"
        _write_text(f"_{name}", found.read_text(encoding="utf-8") if found.exists() else missing)


def _write(name: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [header, ("---",) * len(header), *rows]
    _write_text(name, "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")


def _write_text(name: str, text: str) -> None:
    """Write only what changed, so that pages are not built again for nothing."""
    file = GENERATED / name
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Register what is done before the sources are read."""
    app.connect("builder-inited", _copy_notebooks, priority=1)
    app.connect("builder-inited", _write_tables, priority=1)
