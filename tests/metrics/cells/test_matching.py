from __future__ import annotations

import warnings

import numpy as np

from scperturbrl.metrics import match_cells


def test_values_next_to_zero_are_no_counts_and_no_warning():
    cells = np.log1p(np.random.default_rng(0).poisson(3.0, (20, 30))).astype(np.float32)
    shifted = cells.copy()
    shifted[:, 0] = 1e-40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matched = match_cells(shifted, cells)
    assert np.isfinite(matched.predicted).all()
