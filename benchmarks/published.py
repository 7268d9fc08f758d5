"""Rows of the tables of scDFM (ICLR 2026), to print next to ours; transcribed by third parties, not checked."""

from __future__ import annotations

import pandas as pd

COLUMNS = ["l2", "mse", "mae", "de_spearman", "pearson_delta", "discrimination_l1", "pearson_delta_systema"]
_NAN = float("nan")
_ROWS = {
    "norman_additive": {
        "Control": [3.9937, 0.01839, 0.03953, _NAN, _NAN, 0.5135, -0.1695],
        "Additive": [1.9395, 0.00448, 0.02276, 0.5564, 0.9024, 0.9686, 0.8584],
        "GEARS": [3.5531, 0.01387, 0.06624, 0.5624, 0.7421, 0.8601, -0.0089],
        "CellFlow": [1.7064, 0.00392, 0.02207, 0.5503, 0.8678, 0.9321, 0.8395],
        "scDFM": [1.7043, 0.00315, 0.02155, 0.5705, 0.8853, 0.9737, 0.8468],
    },
    "norman_holdout": {
        "Control, singles": [2.6834, 0.0095, 0.0263, _NAN, _NAN, 0.5217, 0.1618],
        "CellFlow, singles": [1.6758, 0.0035, 0.0191, 0.2860, 0.7109, 0.8072, 0.6138],
        "scDFM, singles": [1.6186, 0.0030, 0.0190, 0.6957, 0.7127, 0.8914, 0.6659],
        "Control, doubles": [4.1882, 0.0207, 0.0423, _NAN, _NAN, 0.5322, -0.1303],
        "CellFlow, doubles": [2.1042, 0.0049, 0.0236, 0.5074, 0.8095, 0.8622, 0.6780],
        "scDFM, doubles": [2.0309, 0.0047, 0.0235, 0.5676, 0.8357, 0.9189, 0.7769],
    },
    "combosciplex": {
        "Control": [5.3716, 0.0324, 0.0698, _NAN, _NAN, 0.5714, _NAN],
        "CPA": [1.6592, 0.0029, 0.0240, 0.7906, 0.8150, 0.8980, _NAN],
        "scDFM": [1.6567, 0.0028, 0.0220, 0.8289, 0.8933, 0.8776, _NAN],
    },
}


def table(name: str) -> pd.DataFrame:
    """Published rows of one data set; columns have the names of our most similar metrics.

    Discrimination there is by L1 and over a rank divided by the number of conditions, DE Spearman by cell-eval 0.5.
    """
    return pd.DataFrame.from_dict(_ROWS[name], orient="index", columns=COLUMNS)
