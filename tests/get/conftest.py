from __future__ import annotations

import pytest

import scperturbrl as spr


@pytest.fixture
def adata(finished):
    return finished.copy()


@pytest.fixture
def bare():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata)
    return adata
