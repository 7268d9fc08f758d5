from __future__ import annotations

import inspect

import anndata as ad
import mudata
import numpy as np
import pytest

import scperturbrl as spr
from scperturbrl._core.modality import pick, without_pulling

ROOMS = (spr.pp, spr.tl, spr.pl, spr.get)


def small(value, genes):
    names = [f"{genes}{i}" for i in range(2)]
    adata = ad.AnnData(np.full((3, 2), value, dtype=np.float32))
    adata.var_names = names
    return adata


@pytest.fixture(autouse=True)
def new_behaviour():
    with without_pulling():
        yield


@pytest.fixture
def both():
    return mudata.MuData({"rna": small(1, "g"), "adt": small(2, "p")})


def test_an_anndata_is_itself():
    adata = small(1, "g")
    assert pick(adata, None) is adata


def test_a_named_modality_is_the_object_itself(both):
    assert pick(both, "adt") is both.mod["adt"]


def test_the_only_modality_and_the_only_one_set_up(both):
    assert pick(mudata.MuData({"rna": both["rna"]}), None) is both["rna"]
    both["adt"].uns["scperturbrl"] = {}
    assert pick(both, None) is both["adt"]


def test_errors(both):
    with pytest.raises(KeyError, match="no modality 'rn'.*'rna'"):
        pick(both, "rn")
    with pytest.raises(ValueError, match="modalities 'rna', 'adt'. Choose one"):
        pick(both, None)
    with pytest.raises(ValueError, match="`modality` is 'rna', but `adata` is an AnnData"):
        pick(small(1, "g"), "rna")
    with pytest.raises(TypeError, match="`adata` is of type list"):
        pick([1, 2], None)


def test_two_that_are_set_up_must_be_told_apart(both):
    for name in ("rna", "adt"):
        both[name].uns["scperturbrl"] = {}
    with pytest.raises(ValueError, match="Choose one"):
        pick(both, None)


def _works_on_adata(verb):
    return inspect.isfunction(verb) and "adata" in inspect.signature(verb).parameters


def verbs():
    found = {f"{room.__name__}.{name}": getattr(room, name) for room in ROOMS for name in room.__all__}
    return [pytest.param(verb, id=name) for name, verb in found.items() if _works_on_adata(verb)]


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_takes_a_modality(verb):
    parameter = inspect.signature(verb).parameters["modality"]
    assert parameter.kind is parameter.KEYWORD_ONLY
    assert parameter.default is None
    assert "MuData" in inspect.get_annotations(verb)["adata"]
