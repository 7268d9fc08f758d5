"""Data sets of the benchmarks, each set up, split and with a reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import paper, real, simulated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData


class Prepared(NamedTuple):
    """Data to fit, gene sets for evaluation that no default reward uses, and evaluated genes (None: all).

    Generators make `n_cells` a condition, so that means are not decided by the noise of counts: those of baselines are exact.

    With `embeddings`, perturbations have these features instead of the loadings of their genes. A held-out condition with
    fewer than `min_cells` cells is not screened.
    """

    adata: AnnData
    networks: dict[str, pd.DataFrame]
    panel: list[str] | None = None
    n_cells: int = 2000
    embeddings: pd.DataFrame | None = None
    min_cells: int = 10


@dataclass(frozen=True)
class Dataset:
    """A data set by name.

    Attributes
    ----------
    name
        Identifier.
    load
        Function of seed and folder with the data files.
    describes
        One phrase for the report.
    published
        Name of the published rows to print beside it, if there are any.
    """

    name: str
    load: Callable[[int, Path], Prepared]
    describes: str
    published: str = field(default="")


def _dataset(name: str, load: Callable[..., Any], describes: str, published: str = "") -> Dataset:
    return Dataset(name, lambda seed, data: Prepared(*load(seed, data)), describes, published)


_ALL = [
    _dataset("simulated", partial(simulated.load, {}), "24 singles and 30 doubles of the built-in simulator"),
    *(
        _dataset(name, partial(simulated.load, options), words)
        for name, (options, words) in simulated.VARIATIONS.items()
    ),
    *(
        _dataset(name, partial(simulated.load_unseen, options), words)
        for name, (options, words) in simulated.UNSEEN.items()
    ),
    _dataset("kang", real.kang, "interferon beta on blood cells, cell types held out in turn"),
    _dataset("norman", real.norman, "CRISPR activation in K562, doubles held out in turn"),
    _dataset(
        "norman_all", real.norman_all, "CRISPR activation in K562, all 15 doubles in turn, some with unmeasured parts"
    ),
    _dataset("zhao", real.zhao, "panobinostat on glioblastoma slices, patients held out in turn"),
    *(
        _dataset(name, partial(simulated.load_contexts, options), words)
        for name, (options, words) in simulated.CONTEXTS.items()
    ),
    *(
        _dataset(name, partial(simulated.load_doses, options), words)
        for name, (options, words) in simulated.DOSES.items()
    ),
    *(_dataset(name, partial(simulated.load, options), words) for name, (options, words) in simulated.PANELS.items()),
    _dataset("kang_types", real.kang_types, "interferon beta on blood cells, each of seven cell types held out"),
    _dataset(
        "kang_types_hvg",
        partial(real.kang_types, n_top_genes=2000),
        "interferon beta on blood cells, 2,000 variable genes",
    ),
    _dataset(
        "kang_pairs",
        real.kang_pairs,
        "interferon beta on blood cells, 2,000 variable genes, each of seven cell types held out and one other trained on",
    ),
    _dataset(
        "zhao_patients", real.zhao_patients, "panobinostat on glioblastoma slices, each of five patients held out"
    ),
    _dataset(
        "schraivogel", real.schraivogel, "CRISPR interference in K562, a panel of 72 genes, targets held out in turn"
    ),
    _dataset("vcc", real.vcc, "CRISPR interference in H1, each of five targets held out"),
    _dataset("norman_singles", real.norman_singles, "CRISPR activation in K562, singles held out in turn"),
    *(
        _dataset(
            f"planted_{what}", partial(real.planted, what=what), f"effects planted into real control cells, {words}"
        )
        for what, words in (
            ("singles", "30 singles, 30 % unseen"),
            ("doubles", "12 singles and 18 doubles, 30 % of the doubles unseen"),
            ("contexts", "5 singles in seven cell types, one cell type unseen"),
            ("doses", "9 singles at 4 doses, one dose of 3 of them unseen"),
        )
    ),
    *(_dataset(name, partial(paper.load, name), words, name) for name, words in paper.DATASETS.items()),
]
DATASETS = {dataset.name: dataset for dataset in _ALL}
# only cells of trained conditions are held out of these
TRAINED = {
    "schraivogel_trained": _dataset("schraivogel_trained", real.schraivogel_trained, "all 14 targets trained on"),
}
# bulk wells have no counts, which the generator needs; the linear model of a screen does not
SCREENED = {
    "lincs": _dataset("lincs", real.lincs, "349 compounds on HT115, bulk wells, a fifth of the compounds held out"),
}
SUITES = {
    "main": ["simulated", "kang", "norman", "zhao"],
    "real": ["kang", "norman", "zhao", "schraivogel", "vcc"],
    "simulated": ["simulated", *simulated.VARIATIONS],
    "unseen": [*simulated.UNSEEN, "norman_all"],
    "contexts": [*simulated.CONTEXTS, "kang_types", "kang_types_hvg", "kang_pairs", "zhao_patients"],
    "unseen_real": ["norman_singles", "schraivogel", "vcc"],
    "planted": [f"planted_{what}" for what in ("singles", "doubles", "contexts", "doses")],
    "doses": [*simulated.DOSES, "planted_doses"],
    "panels": list(simulated.PANELS),
    "paper": list(paper.DATASETS),
}
# default data sets of `trained`
CHECKED = ["simulated", "contexts", "kang", "norman", "zhao", *TRAINED, *simulated.PANELS]
