"""Lower bounds: operations and bytes of a training step and of scoring a cell."""

from __future__ import annotations

import pandas as pd


def mlp_step(*, batch: int = 256, d: int = 50, width: int = 256, n_blocks: int = 2) -> dict[str, float]:
    """Operations and bytes of one training step of the velocity.

    Two operations a weight and cell forward, four backward. Adam reads weight, gradient and two moments and writes three of them;
    each weight is read once forward and once backward and its gradient written once.
    """
    block = width * 2 * width * 2 + width * 3 * width
    weights = 2 * d * width + 2 * width * width + n_blocks * block + 2 * width * d
    return {"weights": weights, "operations": 6 * weights * batch, "bytes": 4 * weights * (7 + 3)}


def scoring(
    *, n_genes: int = 2000, n_bank: int = 128, k: int = 50, n_ranked: int = 100, n_pathways: int = 14
) -> dict[str, float]:
    """Operations and bytes of scoring one cell with the four default verifiers; a sort of n values counts n log2 n."""
    from math import log2

    products = 2 * 2 * n_bank * k + 2 * n_genes * (n_pathways + 1) + 2 * n_genes
    return {"operations": products + n_ranked * log2(n_ranked), "bytes": 4 * n_genes}


def table() -> pd.DataFrame:
    """Both, for the report."""
    step, cell = mlp_step(), scoring()
    return pd.DataFrame(
        [
            {"what": "training step, batch 256", "operations": step["operations"], "bytes": step["bytes"]},
            {"what": "training step, one cell", "operations": step["operations"] / 256, "bytes": step["bytes"] / 256},
            {"what": "scoring one cell, 2,000 genes", **cell},
        ]
    )
