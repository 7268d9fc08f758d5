from __future__ import annotations

import pandas as pd
import pytest

from scperturbrl.pl._draw.shown import label_height, rows_label, top_rows


def test_the_most_important_in_their_own_order():
    importance = pd.Series({"a": 1.0, "b": 3.0, "c": 2.0, "e": 3.0})
    assert top_rows(["c", "b", "a", "d", "e"], importance, 3) == ["c", "b", "e"]
    assert top_rows(["c", "d", "a"], importance, 2) == ["c", "a"]
    assert top_rows(["a", "b"], importance, None) == ["a", "b"]
    assert top_rows(["a", "b"], importance, 9) == ["a", "b"]


@pytest.mark.parametrize("n_top", [0, -1, 2.5, False])
def test_counts_only(n_top):
    with pytest.raises(ValueError, match="`n_top` is"):
        top_rows(["a"], {}, n_top)


def test_a_label_says_what_is_shown():
    assert rows_label("Condition", 5, 5, "the largest") == "Condition"
    text = rows_label("Condition", 5, 2000, "the largest")
    assert text == "Condition\n(5 of 2,000 shown: the largest)"
    assert label_height(text) > label_height("Condition")
