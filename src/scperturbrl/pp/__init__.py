"""Prepare an AnnData: declare its columns, hold out conditions, summarise the training cells."""

from scperturbrl._core.lazy import lazy_exports as _lazy_exports

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {
        "SplitManifest": "scperturbrl.data.split.manifest",
        "fingerprint_embeddings": "scperturbrl.pp._embeddings",
        "network_embeddings": "scperturbrl.pp._embeddings",
        "pathway_network": "scperturbrl.pp._network",
        "reference": "scperturbrl.pp._reference",
        "setup_anndata": "scperturbrl.pp._setup_anndata",
        "split": "scperturbrl.pp._split",
        "split_folds": "scperturbrl.pp._split",
    },
)
