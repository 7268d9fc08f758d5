from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scperturbrl.data.cells.grouping import rows_of


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_every_code_has_the_rows_that_a_search_finds(cells):
    codes, use = (
        np.array(part, dtype=kind)
        for part, kind in zip(zip(*cells, strict=True) if cells else ([], []), (int, bool), strict=True)
    )
    for chosen in (None, use):
        kept = np.ones(len(codes), dtype=bool) if chosen is None else chosen
        found = rows_of(codes, 6, chosen)
        assert len(found) == 6
        for code in range(6):
            np.testing.assert_array_equal(found[code], np.flatnonzero((codes == code) & kept))
