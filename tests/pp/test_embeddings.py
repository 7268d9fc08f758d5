from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD

import scperturbrl as spr

DRUGS = {"aspirin": "CC(=O)Oc1ccccc1C(=O)O", "salicylate": "OC(=O)c1ccccc1O", "ethanol": "CCO"}


@pytest.fixture
def annotation():
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, [40, 15], (200, 2))
    table = pd.DataFrame({"target": [f"G{i}" for i, _ in pairs], "source": [f"T{j}" for _, j in pairs]})
    return table.assign(weight=rng.choice([-1.0, 0.5, 2.0], 200)).drop_duplicates(["source", "target"])


@pytest.mark.parametrize("n", [4, 15, 32])
def test_distances_are_those_of_a_truncated_svd_of_scaled_terms(annotation, n):
    found = spr.pp.network_embeddings(annotation, n_components=n)
    wide = annotation.pivot_table(index="target", columns="source", values="weight", fill_value=0.0)
    wide = wide / np.linalg.norm(wide, axis=0)
    expected = TruncatedSVD(min(n, 15), algorithm="arpack" if n < 15 else "randomized", random_state=1)
    scores = expected.fit_transform(wide.to_numpy())
    scores = scores / np.sqrt(np.square(scores).mean())
    gram = found.loc[wide.index].to_numpy()
    np.testing.assert_allclose(gram @ gram.T, scores @ scores.T, atol=1e-6)
    assert found.shape[1] == min(n, 15)


def test_order_and_names_of_terms_do_not_matter(annotation):
    shuffled = annotation.sample(frac=1, random_state=1).assign(source=lambda t: "a " + t["source"])
    first, second = (spr.pp.network_embeddings(table, n_components=5) for table in (annotation, shuffled))
    pd.testing.assert_frame_equal(first, second)


def test_a_network_that_says_nothing_is_refused(annotation):
    for table in (annotation.iloc[:0], annotation.assign(weight=0.0)):
        with pytest.raises(ValueError, match="no row with a weight"):
            spr.pp.network_embeddings(table)
    with pytest.raises(KeyError, match="target"):
        spr.pp.network_embeddings(annotation[["source"]])


def test_fingerprints_of_like_drugs_are_alike():
    pytest.importorskip("rdkit")
    found = spr.pp.fingerprint_embeddings(pd.Series(DRUGS), n_bits=256)
    assert found.shape == (3, 256)
    assert set(np.unique(found)) == {0.0, 1.0}
    overlap = found.to_numpy() @ found.to_numpy().T
    assert overlap[0, 1] > overlap[0, 2]


def test_fingerprints_are_those_of_rdkit():
    Chem = pytest.importorskip("rdkit.Chem")
    from rdkit.Chem import rdFingerprintGenerator

    found = spr.pp.fingerprint_embeddings(DRUGS, radius=3, n_bits=128).loc["aspirin"]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=128)
    expected = generator.GetFingerprint(Chem.MolFromSmiles(DRUGS["aspirin"]))
    assert np.flatnonzero(found).tolist() == list(expected.GetOnBits())


@pytest.mark.parametrize("text", ["C1CC", "", None, float("nan")])
def test_a_drug_without_a_readable_structure_is_named(text):
    pytest.importorskip("rdkit")
    with pytest.raises(ValueError, match="'mystery' cannot be read"):
        spr.pp.fingerprint_embeddings({**DRUGS, "mystery": text})


def test_without_rdkit_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"scperturbrl\[drugs\]"):
        spr.pp.fingerprint_embeddings(DRUGS)
