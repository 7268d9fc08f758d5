from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.data.reference.side_by_side import side_by_side


@pytest.mark.parametrize("most", [1, 10, 1000])
def test_every_cell_comes_once_with_its_condition(most):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 30, 200)
    members = [(code, np.flatnonzero(codes == code)) for code in range(31)]
    seen = []
    for numbers, rows in side_by_side(members, most=most):
        assert len(numbers) == 1 or rows.size <= most
        np.testing.assert_array_equal(codes[rows], np.broadcast_to(numbers[:, None], rows.shape))
        seen += rows.ravel().tolist()
    assert sorted(seen) == list(range(200))


def test_conditions_of_one_size_are_taken_together():
    members = [(i, np.arange(3) + 3 * i) for i in range(8)]
    assert [len(numbers) for numbers, _ in side_by_side(members, most=12)] == [4, 4]
