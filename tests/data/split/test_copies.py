from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scperturbrl as spr
from scperturbrl.data.split.copies import copies


def with_copies(adata, n=5, *, of="GENE", into=None):
    """`adata` with copies of cells under other names, and another label if wanted."""
    rows = np.flatnonzero(adata.obs["perturbation"].astype(str).str.startswith(of))[:n]
    more = adata[rows].copy()
    more.obs_names = [f"copy-{name}" for name in more.obs_names]
    if into is not None:
        more.obs["perturbation"] = into
    return ad.concat([adata, more])


def test_copies_under_another_name_are_told(toy):
    adata = with_copies(spr.datasets.toy())
    spr.pp.setup_anndata(adata)
    with pytest.warns(
        UserWarning, match=r"5 of \d+ cells have exactly the same expression as a cell .*'cell\d+' and 'copy-cell"
    ) as told:
        spr.pp.split(adata)
    assert "held out" not in str(told[0].message)
    line = str(told[0].message).split("`")[-2]
    scope = {"adata": adata, "pd": pd}
    exec(line, scope)
    assert scope["adata"].n_obs == toy.n_obs
    spr.pp.setup_anndata(scope["adata"])
    spr.pp.split(scope["adata"])


def test_copies_across_the_split_are_told():
    plain = spr.datasets.toy()
    pair = next(name for name in plain.obs["perturbation"].unique() if "+" in name)
    adata = with_copies(plain, of="control", into=pair)
    spr.pp.setup_anndata(adata)
    with pytest.warns(UserWarning, match="5 held-out cells have a copy in training"):
        spr.pp.split(adata, values=[pair])


def test_cells_of_few_counts_may_be_equal():
    plain = spr.datasets.toy()
    plain.X = sparse.csr_matrix(np.where(np.arange(plain.n_vars) < 20, plain.X.toarray(), 0), dtype=np.float32)
    adata = with_copies(plain)
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_exactly_the_copies_are_found(form):
    adata = with_copies(spr.datasets.toy(), n=7)
    expected = pd.Series([row.tobytes() for row in adata.X.toarray()])
    adata.X = form(adata.X.toarray())
    rows, group = copies(adata, None)
    assert rows.tolist() == np.flatnonzero(expected.duplicated(keep=False)).tolist()
    assert len(np.unique(group)) == 7


def test_cells_in_a_file_too(tmp_path):
    adata = with_copies(spr.datasets.toy(), n=3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert len(copies(ad.read_h5ad(tmp_path / "a.h5ad", backed="r"), None)[0]) == 6
