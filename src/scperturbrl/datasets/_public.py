"""Public screens of :mod:`pertpy.data`, with one set of column names and labels."""

from __future__ import annotations

import inspect
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scperturbrl.datasets._names import CONTROL, LABEL_PUBLISHED, PERTURBATION, SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

_UNASSIGNED = frozenset({"", "*", "nan", "None"})
_GUIDE_VECTOR = re.compile(r"_p[A-Z]{2}\d+$")
_ADAMSON_CONTROLS = ("62(mod)_pBA581", "63(mod)_pBA580", "Gal4-4(mod)_pBA582", CONTROL)
_REPLOGLE_CONTROLS = (CONTROL, "non-targeting")


def norman_2019() -> AnnData:
    """Load the CRISPR activation screen of single genes and pairs in K562 cells (Norman et al. 2019).

    About 111,000 cells, 105 singles and 131 pairs. ``X`` is log-normalised, counts are in ``layers["counts"]``.

    Returns
    -------
    AnnData with ``obs["perturbation"]``: ``control``, gene symbols, and pairs as ``A+B``. The labels as published are
    in ``obs["perturbation_published"]``.

    Raises
    ------
    ConnectionError
        When the file is neither in the cache nor can be downloaded.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.norman_2019()  # doctest: +SKIP
    """
    return _harmonise(_fetch("norman_2019"), perturbation="perturbation_name", control=CONTROL)


def kang_2018() -> AnnData:
    """Load blood cells of eight lupus patients with and without interferon beta (Kang et al. 2018).

    About 24,700 cells; ``X`` holds counts, ``obs["cell_type"]`` eight cell types and ``obs["replicate"]`` the patient.

    Returns
    -------
    AnnData with ``obs["perturbation"]``: ``control`` and ``IFNB1``. The labels as published (``ctrl``, ``stim``) are in
    ``obs["perturbation_published"]``.

    Raises
    ------
    ConnectionError
        When the file is neither in the cache nor can be downloaded.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.kang_2018()  # doctest: +SKIP
    """
    return _harmonise(_fetch("kang_2018"), perturbation="label", control="ctrl", rename={"stim": "IFNB1"}.get)


def combosciplex() -> AnnData:
    """Load the screen of single drugs and drug pairs in A549 cells (part of Srivatsan et al. 2020).

    Counts are in ``layers["counts"]``.

    Returns
    -------
    AnnData with ``obs["perturbation"]``: ``control``, drugs, and pairs as ``A+B``. The labels as published, in which a
    single drug is paired with ``control``, are in ``obs["perturbation_published"]``.

    Raises
    ------
    ConnectionError
        When the file is neither in the cache nor can be downloaded.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.combosciplex()  # doctest: +SKIP
    """
    return _harmonise(_fetch("combosciplex"), perturbation="condition", control=CONTROL)


def adamson_2016() -> AnnData:
    """Load the CRISPR interference screen of the unfolded protein response in K562 cells (Adamson et al. 2016).

    About 65,000 cells before cells without a guide call are dropped, which this function does; ``X`` holds counts.

    Returns
    -------
    AnnData with ``obs["perturbation"]``: ``control`` for the three non-targeting vectors, and gene symbols, with
    several guides of a gene pooled. The guides as published are in ``obs["perturbation_published"]``.

    Raises
    ------
    ConnectionError
        When the file is neither in the cache nor can be downloaded.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.adamson_2016()  # doctest: +SKIP
    """
    adata = _fetch("adamson_2016_upr_perturb_seq")
    return _harmonise(adata, perturbation=PERTURBATION, control=_ADAMSON_CONTROLS, rename=_gene_of_guide)


def replogle_2022_rpe1() -> AnnData:
    """Load the CRISPR interference screen of essential genes in RPE1 cells (Replogle et al. 2022).

    About 248,000 cells; ``X`` holds counts. The matrix takes about 10 GB of memory.

    Returns
    -------
    AnnData with ``obs["perturbation"]``: ``control`` for non-targeting guides, and gene symbols.

    Raises
    ------
    ConnectionError
        When the file is neither in the cache nor can be downloaded.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.replogle_2022_rpe1()  # doctest: +SKIP
    """
    return _harmonise(_fetch("replogle_2022_rpe1"), perturbation=PERTURBATION, control=_REPLOGLE_CONTROLS)


def replogle_2022_k562_essential() -> AnnData:
    """Load the CRISPR interference screen of essential genes in K562 cells (Replogle et al. 2022).

    About 310,000 cells; ``X`` holds counts. The matrix takes about 10 GB of memory.

    Returns
    -------
    AnnData with ``obs["perturbation"]``: ``control`` for non-targeting guides, and gene symbols.

    Raises
    ------
    RuntimeError
        When the installed pertpy downloads another screen under this name, as pertpy 1.0.3 does.
    ConnectionError
        When the file is neither in the cache nor can be downloaded.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.replogle_2022_k562_essential()  # doctest: +SKIP
    """
    name = "replogle_2022_k562_essential"
    if "gasperini_2019" in _source(_loader(name)):
        msg = (
            f"The installed pertpy downloads gasperini_2019_atscale under the name `{name}`, so the data would be "
            "another screen. Update pertpy, delete the cached file "
            f"{name}.h5ad in `scanpy.settings.datasetdir` if there is one, and try again."
        )
        raise RuntimeError(msg)
    return _harmonise(_fetch(name), perturbation=PERTURBATION, control=_REPLOGLE_CONTROLS)


def _harmonise(
    adata: AnnData,
    *,
    perturbation: str,
    control: str | Sequence[str],
    rename: Callable[[str], str | None] | None = None,
) -> AnnData:
    """Give `adata` an ``obs["perturbation"]`` with ``control``, names and ``A+B``; drop cells without a label."""
    if perturbation not in adata.obs:
        msg = f"obs has no column {perturbation!r}; it has {list(adata.obs.columns)}. The published file has changed."
        raise KeyError(msg)
    published = np.array([str(label) for label in adata.obs[perturbation]], dtype=object)
    controls = {control} if isinstance(control, str) else set(control)
    translated = {label: _translate(label, controls, rename) for label in pd.unique(published)}
    if CONTROL not in translated.values():
        msg = f"obs[{perturbation!r}] has no control cells: none of {sorted(controls)} is among its values."
        raise ValueError(msg)
    labels = pd.Series(published, index=adata.obs_names).map(translated)
    names = sorted(set(labels.dropna()) - {CONTROL})
    adata.obs[LABEL_PUBLISHED] = pd.Categorical(published)
    adata.obs[PERTURBATION] = pd.Categorical(labels, categories=[CONTROL, *names])
    return adata[labels.notna().to_numpy()].copy() if labels.isna().any() else adata


def _translate(label: str, controls: set[str], rename: Callable[[str], str | None] | None) -> str | None:
    if label in _UNASSIGNED:
        return None
    parts = [part for part in label.split(SEPARATOR) if part not in controls]
    renamed = [(rename(part) if rename else None) or part for part in parts]
    return SEPARATOR.join(renamed) or CONTROL


def _gene_of_guide(guide: str) -> str:
    return _GUIDE_VECTOR.sub("", guide)


def _loader(name: str) -> Callable[[], Any]:
    # Importing pertpy changes the warning filters of the whole session.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pertpy.data
    return getattr(pertpy.data, name)


def _source(loader: Callable[[], Any]) -> str:
    try:
        return inspect.getsource(loader)
    except (OSError, TypeError):
        return ""


def _fetch(name: str) -> AnnData:
    loader = _loader(name)
    try:
        return loader()
    except OSError as error:
        msg = (
            f"Could not load `{name}` through pertpy: {error}. It is downloaded once, which needs the internet, and "
            f"then read from {name}.h5ad in `scanpy.settings.datasetdir`; on a machine without internet, copy that "
            "file there."
        )
        raise ConnectionError(msg) from error
