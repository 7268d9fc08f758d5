"""The small real data sets with conditions held out in turn; the seed selects the fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

import scperturbrl as spr

if TYPE_CHECKING:
    from pathlib import Path

FOLDS = 5
Loaded = tuple[ad.AnnData, dict[str, pd.DataFrame]]


def kang(seed: int, data: Path) -> Loaded:
    """Hold out one or two cell types; PROGENy is rewarded, hallmarks are not."""
    adata = _normalised(ad.read_h5ad(data / "kang_2018_pbmc_ifnb.h5ad"))
    return _prepared(adata, data, seed, holdout="cell_type", rewarded="progeny_human_top100", other="hallmark")


def norman(seed: int, data: Path) -> Loaded:
    """Hold out a fifth of the doubles with both singles measured; hallmarks are rewarded."""
    return _prepared(_norman(data), data, seed, holdout="combinations", rewarded=_FILES["hallmark"], other="go")


def norman_all(seed: int, data: Path) -> tuple[ad.AnnData, dict[str, pd.DataFrame], None, int, pd.DataFrame]:
    """Hold out three of all doubles, balanced by the number of their measured singles; genes have GO features.

    None of the perturbed genes is among the 250 genes of the file, so their loadings are unknown.
    """
    adata = _norman(data)
    spr.pp.setup_anndata(adata)
    labels = [str(label) for label in adata.obs["perturbation"].cat.categories]
    measured = lambda label: sum(part in labels for part in label.split("+"))
    doubles = sorted((label for label in labels if "+" in label), key=lambda label: (measured(label), label))
    test, following = doubles[seed % FOLDS :: FOLDS], doubles[(seed + 1) % FOLDS :: FOLDS]
    # of the next fold, the double with the fewest parts measured and the one with the most
    validation = [following[0], following[-1]]
    side = {**dict.fromkeys(test, "test"), **dict.fromkeys(validation, "validation")}
    adata.obs["side"] = [side.get(str(label), "train") for label in adata.obs["perturbation"]]
    spr.pp.split(adata, holdout="column", column="side", seed=seed)
    spr.pp.reference(adata, network=_network(data, _FILES["hallmark"]), seed=seed)
    return adata, {}, None, 2000, spr.pp.network_embeddings(_network(data, _FILES["go"]))


def norman_singles(seed: int, data: Path) -> tuple[ad.AnnData, dict[str, pd.DataFrame], None, int, pd.DataFrame]:
    """Hold out three or four of the singles; doubles with one of them are removed. Genes have GO features.

    17 of the 18 have a fold: IER5L stays in training, because it has no GO terms.
    """
    adata = _norman(data)
    labels, known = adata.obs["perturbation"].astype(str), spr.pp.network_embeddings(_network(data, _FILES["go"]))
    singles = sorted({*labels} & {*known.index})
    held_out = set(singles[seed % FOLDS :: FOLDS])
    adata = adata[["+" not in label or not held_out & set(label.split("+")) for label in labels]].copy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="perturbations", values=sorted(held_out), embeddings=known, seed=seed)
    spr.pp.reference(adata, network=_network(data, _FILES["hallmark"]), seed=seed)
    return adata, {}, None, 2000, known


def _norman(data: Path) -> ad.AnnData:
    adata = ad.read_h5ad(data / "norman_2019_k562_crispra.h5ad")
    # the file has 250 genes; its library sizes were computed over all genes
    adata.X = adata.X.multiply(1e4 / adata.obs["size_total"].to_numpy()[:, None]).tocsr().astype(np.float32)
    sc.pp.log1p(adata)
    return adata


def zhao(seed: int, data: Path) -> Loaded:
    """Hold out one patient; hallmarks are rewarded."""
    adata = _normalised(ad.read_h5ad(data / "zhao_2021_gbm_panobinostat.h5ad"))
    return _prepared(adata, data, seed, holdout="patient_id", rewarded=_FILES["hallmark"], other="go")


def kang_types(seed: int, data: Path, *, n_top_genes: int | None = None) -> Loaded:
    """Hold out one of the seven cell types, the first in the alphabet for seed 0; all genes, or the most variable ones."""
    adata = _normalised(ad.read_h5ad(data / "kang_2018_pbmc_ifnb.h5ad"))
    if n_top_genes is not None:
        sc.pp.highly_variable_genes(adata, n_top_genes=n_top_genes)
        adata = adata[:, adata.var["highly_variable"]].copy()
    return _one_context(adata, data, seed, holdout="cell_type", rewarded="progeny_human_top100", other="hallmark")


def kang_pairs(seed: int, data: Path) -> Loaded:
    """As `kang_types` with 2,000 variable genes, but trained on the next cell type in the alphabet alone."""
    adata = _normalised(ad.read_h5ad(data / "kang_2018_pbmc_ifnb.h5ad"))
    types = sorted(adata.obs["cell_type"].astype(str).unique())
    held_out, other = types[seed % len(types)], types[(seed + 1) % len(types)]
    adata = adata[adata.obs["cell_type"].isin([held_out, other])].copy()
    sc.pp.highly_variable_genes(adata, n_top_genes=2000)
    adata = adata[:, adata.var["highly_variable"]].copy()
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="cell_type", values=[held_out], seed=seed)
    spr.pp.reference(adata, network=_network(data, "progeny_human_top100"), seed=seed)
    return adata, {"hallmark": _covered(_network(data, _FILES["hallmark"]), adata)}


def zhao_patients(seed: int, data: Path) -> Loaded:
    """Hold out one of the five patients, the first in the alphabet for seed 0."""
    adata = _normalised(ad.read_h5ad(data / "zhao_2021_gbm_panobinostat.h5ad"))
    return _one_context(adata, data, seed, holdout="patient_id", rewarded=_FILES["hallmark"], other="go")


def schraivogel(seed: int, data: Path) -> Loaded:
    """Hold out two or three of the 13 targeted genes; the enhancer is not a gene, so it stays in training."""
    adata = _schraivogel(data)
    genes = sorted({str(label) for label in adata.obs["perturbation"]} & set(adata.var_names))
    spr.pp.split(adata, holdout="perturbations", values=genes[seed % FOLDS :: FOLDS], seed=seed)
    spr.pp.reference(adata, network=_covered(_network(data, _FILES["go"]), adata), seed=seed)
    return adata, {}


def schraivogel_trained(seed: int, data: Path) -> Loaded:
    """Train on all conditions: for `python -m benchmarks trained`, which holds out cells of them."""
    adata = _schraivogel(data)
    adata.obs["side"] = "train"
    spr.pp.split(adata, holdout="column", column="side", seed=seed)
    return adata, {}


def _schraivogel(data: Path) -> ad.AnnData:
    adata = _normalised(ad.read_h5ad(data / "schraivogel_2020_tapseq_k562.h5ad"))
    spr.pp.setup_anndata(adata)
    return adata


def vcc(seed: int, data: Path) -> tuple[ad.AnnData, dict[str, pd.DataFrame], None, int, pd.DataFrame]:
    """Hold out one of the five targets; genes have GO features, since four are not among the 1,000 of the file."""
    adata = _normalised(ad.read_h5ad(data / "vcc_2025_h1_crispri_subset.h5ad"))
    spr.pp.setup_anndata(adata)
    targets = sorted({str(label) for label in adata.obs["perturbation"]} - {"control"})
    known = spr.pp.network_embeddings(_network(data, _FILES["go"]))
    spr.pp.split(adata, holdout="perturbations", values=[targets[seed % len(targets)]], embeddings=known, seed=seed)
    spr.pp.reference(adata, network=_network(data, _FILES["hallmark"]), seed=seed)
    return adata, {}, None, 2000, known


def lincs(seed: int, data: Path) -> tuple[ad.AnnData, dict[str, pd.DataFrame], None, int, pd.DataFrame, int]:
    """Hold out a fifth of the 349 compounds; structures tell them apart, and PROGENy has the objectives.

    The values are log2 intensities of bulk wells, two a compound, so that there is no generator: no counts can be read off.
    """
    adata = ad.read_h5ad(data / "lincs_l1000_ht115_6h_level3.h5ad")
    smiles = adata.obs.drop_duplicates("perturbation").set_index("perturbation")["smiles"]
    # to natural logarithms, in which everything here is; a constant factor changes no rank
    adata.X = (adata.X * np.log(2)).astype(np.float32)
    known = spr.pp.fingerprint_embeddings(smiles[smiles.index != "control"])
    spr.pp.setup_anndata(adata, dose_key="dose_uM")
    compounds = sorted(known.index)
    spr.pp.split(adata, holdout="perturbations", values=compounds[seed % FOLDS :: FOLDS], embeddings=known, seed=seed)
    spr.pp.pathway_network(adata, _covered(_network(data, "progeny_human_top100"), adata))
    return adata, {}, None, 2000, known, 2


def planted(seed: int, data: Path, *, what: str) -> Loaded:
    """Plant new effects for every seed into real control cells of seven types; hold out doubles, a cell type or doses.

    Platelets are too few. A held-out dose is the second of four, of a third of the perturbations.
    """
    cells = ad.read_h5ad(data / "kang_2018_control_cells_12k.h5ad")
    cells = cells[cells.obs["cell_type"] != "Megakaryocytes"].copy()
    options, holdout = _PLANTED[what]
    adata = spr.datasets.plant_effects(cells, **options, seed=seed)
    network, covariate = adata.uns["pathway_network"], options.get("context_key")
    spr.pp.setup_anndata(
        adata, covariate_keys=[covariate] if covariate else [], dose_key="dose" if "doses" in options else None
    )
    if holdout == "dose":
        adata.obs["side"] = _sides_of_doses(adata, seed)
        spr.pp.split(adata, holdout="column", column="side", seed=seed)
    elif covariate:
        contexts = sorted(adata.obs[covariate].unique())
        spr.pp.split(adata, holdout=holdout, values=[contexts[seed % len(contexts)]], seed=seed)
    else:
        spr.pp.split(adata, holdout=holdout, fraction=0.3, seed=seed)
    spr.pp.reference(adata, network=network, seed=seed)
    return adata, {}


_PLANTED: dict[str, tuple[dict[str, Any], str]] = {
    "singles": ({"n_singles": 30, "n_doubles": 0}, "perturbations"),
    "doubles": ({"n_singles": 12, "n_doubles": 18}, "combinations"),
    "contexts": ({"n_singles": 5, "n_doubles": 0, "context_key": "cell_type"}, "cell_type"),
    "doses": ({"n_singles": 9, "n_doubles": 0, "doses": (0.1, 0.5, 2.0, 10.0)}, "dose"),
}


def _sides_of_doses(adata: ad.AnnData, seed: int) -> np.ndarray:
    """Test for one dose of a third of the perturbations, validation for one more, training else."""
    names = np.random.default_rng(seed).permutation(adata.uns["truth"]["singles"].index)
    label, dose = adata.obs["perturbation"].astype(str), adata.obs["dose"]
    middle = sorted(set(dose))[2]
    side = np.where(label.isin(names[: len(names) // 3]) & (dose == middle), "test", "train")
    return np.where((label == names[-1]) & (dose == middle), "validation", side)


_FILES = {"hallmark": "msigdb_hallmark_v7.0_human", "go": "go_bp_2021_enrichr_human"}


def _prepared(adata: ad.AnnData, data: Path, seed: int, *, holdout: str, rewarded: str, other: str) -> Loaded:
    spr.pp.setup_anndata(adata, covariate_keys=[] if holdout == "combinations" else [holdout])
    folds = spr.pp.split_folds(adata, holdout=holdout, k=_n_folds(adata, holdout), seed=0)
    spr.pp.split(adata, holdout=folds[seed % len(folds)])
    spr.pp.reference(adata, network=_network(data, rewarded), seed=seed)
    return adata, {other: _covered(_network(data, _FILES[other]), adata)}


def _one_context(adata: ad.AnnData, data: Path, seed: int, *, holdout: str, rewarded: str, other: str) -> Loaded:
    """Hold out context number `seed` of the sorted ones, so that every context is held out in one fold."""
    spr.pp.setup_anndata(adata, covariate_keys=[holdout])
    contexts = sorted(adata.obs[holdout].astype(str).unique())
    spr.pp.split(adata, holdout=holdout, values=[contexts[seed % len(contexts)]], seed=seed)
    spr.pp.reference(adata, network=_network(data, rewarded), seed=seed)
    return adata, {other: _covered(_network(data, _FILES[other]), adata)}


def _n_folds(adata: ad.AnnData, holdout: str) -> int:
    return FOLDS if holdout == "combinations" else min(FOLDS, adata.obs[holdout].nunique())


def _covered(network: pd.DataFrame, adata: ad.AnnData, *, min_genes: int = 5) -> pd.DataFrame:
    """Gene sets of which at least `min_genes` genes are measured."""
    inside = network[network["target"].isin(adata.var_names)]
    return inside[inside.groupby("source")["target"].transform("nunique") >= min_genes]


def _normalised(adata: ad.AnnData) -> ad.AnnData:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def _network(data: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(data / "networks" / f"{name}.csv.gz")
