"""Features of perturbations for ``tl.fit_generator(embeddings=)``, from gene annotations or drug structures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core.validate import check_positive
from scperturbrl.data.cells.network import check_network

if TYPE_CHECKING:
    from collections.abc import Mapping


def network_embeddings(network: pd.DataFrame, *, n_components: int = 32) -> pd.DataFrame:
    """Features of genes from a network or annotation: GO terms, pathways, interaction partners.

    Parameters
    ----------
    network
        Table with columns ``source`` (term), ``target`` (gene) and optionally ``weight``. Signs are kept.
    n_components
        Number of features; fewer if there are fewer terms or genes.

    Returns
    -------
    Table with one row for each gene of the network: its scores on the first components of the gene x term matrix
    (truncated SVD). Terms are scaled to norm 1, and the scores to a mean square of 1. No cells are used. A
    gene outside of the network has no row and cannot be predicted.

    Raises
    ------
    KeyError
        If ``source`` or ``target`` is missing.
    ValueError
        If the network is empty or all zero, a weight is not finite, or `n_components` is not positive.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> features = spr.pp.network_embeddings(adata.uns["pathway_network"], n_components=3)
    >>> features.columns.tolist()
    ['network0', 'network1', 'network2']
    """
    check_positive(n_components=n_components)
    table = check_network(network)
    if not table["weight"].any():
        msg = "The network has no row with a weight other than 0. Check how it was read or filtered."
        raise ValueError(msg)
    genes, names = pd.factorize(table["target"], sort=True)
    terms, _ = pd.factorize(table["source"], sort=True)
    matrix = sparse.csr_matrix((table["weight"].to_numpy(float), (genes, terms)))
    size = np.sqrt(np.asarray(matrix.multiply(matrix).sum(0)).ravel())
    # without scaling, the broadest terms would dominate the components
    scaled = matrix @ sparse.diags(1 / np.where(size > 0, size, 1))
    scores = _components(scaled, n_components)
    scores = scores / np.sqrt(np.square(scores).mean())
    return pd.DataFrame(scores, index=pd.Index(names, dtype=object)).add_prefix("network")


def fingerprint_embeddings(
    smiles: Mapping[str, str] | pd.Series, *, radius: int = 2, n_bits: int = 1024
) -> pd.DataFrame:
    """Morgan fingerprints of drugs, from their structures.

    Parameters
    ----------
    smiles
        SMILES of each drug, by its name in the perturbation column.
    radius
        Radius of the neighbourhood of an atom in bonds; 2 gives ECFP4.
    n_bits
        Length of the fingerprint.

    Returns
    -------
    Table of zeros and ones with one row for each drug: the atom neighbourhoods that occur in it.

    Raises
    ------
    ImportError
        If RDKit is not installed.
    ValueError
        If `smiles` is empty, or a SMILES cannot be read; the message names the drug.

    Notes
    -----
    Extended-connectivity fingerprints :cite:p:`rogers2010`, made by RDKit.

    Examples
    --------
    >>> import scperturbrl as spr
    >>> features = spr.pp.fingerprint_embeddings({"aspirin": "CC(=O)Oc1ccccc1C(=O)O"}, n_bits=64)  # doctest: +SKIP
    >>> features.shape  # doctest: +SKIP
    (1, 64)
    """
    check_positive(radius=radius, n_bits=n_bits)
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem import rdFingerprintGenerator
    except ImportError as error:
        msg = "Fingerprints need RDKit, which is not installed: `pip install 'scperturbrl[drugs]'`."
        raise ImportError(msg) from error
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=n_bits)
    rows: dict[str, Any] = {}
    with rdBase.BlockLogs():
        for name, text in dict(smiles).items():
            molecule = Chem.MolFromSmiles(text) if isinstance(text, str) and text.strip() else None
            if molecule is None:
                msg = f"The SMILES of {name!r} cannot be read: {text!r}. Correct it, or leave the drug out."
                raise ValueError(msg)
            rows[str(name)] = generator.GetFingerprintAsNumPy(molecule).astype(np.float32)
    if not rows:
        msg = "`smiles` is empty; give the SMILES of every drug by its name."
        raise ValueError(msg)
    return pd.DataFrame.from_dict(rows, orient="index").add_prefix("morgan")


def _components(matrix: sparse.csr_matrix, n_components: int) -> np.ndarray:
    """Rows of `matrix` on its first right singular vectors."""
    n = min(n_components, *matrix.shape)
    if n == min(matrix.shape):
        u, s, vt = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        start = np.random.default_rng(0).standard_normal(min(matrix.shape))
        u, s, vt = sparse.linalg.svds(matrix, k=n, v0=start)
        u, s, vt = u[:, ::-1], s[::-1], vt[::-1]
    # the sign is arbitrary: the largest loading is made positive
    return u * s * np.sign(vt[np.arange(len(s)), np.abs(vt).argmax(1)])
