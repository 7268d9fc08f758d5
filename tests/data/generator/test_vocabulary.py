from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from scperturbrl.data.generator.vocabulary import Vocabulary


@pytest.mark.parametrize("featured", [["c", "a", "x"], []])
def test_every_part_has_its_token_and_its_features(featured):
    rng = np.random.default_rng(0)
    embeddings = pd.DataFrame(rng.normal(size=(len(featured), 2)), index=pd.Index(featured, dtype=object))
    vocabulary = Vocabulary(("a", "b"), (), embeddings)
    parts = [("a",), (), ("b", "a"), *([("x", "b")] if featured else [])]
    table = pd.DataFrame({"parts": parts, "dose": 0.0, "covariates": [()] * len(parts)})
    batch = vocabulary.batch(table)
    assert batch.features.shape == (len(parts), 2, 2)
    for row, own in enumerate(parts):
        for slot in range(2):
            part = own[slot] if slot < len(own) else None
            expected = embeddings.loc[part].to_numpy(np.float32) if part in featured else np.zeros(2)
            assert batch.tokens[row, slot] == {"a": 1, "b": 2}.get(part, 0)
            assert batch.present[row, slot] == (part is not None)
            np.testing.assert_array_equal(batch.features[row, slot], expected)
    assert batch.features.dtype == batch.present.dtype == torch.float32


def test_a_table_without_perturbations_has_only_padding():
    vocabulary = Vocabulary(("a",), (), pd.DataFrame(np.ones((1, 2)), index=["a"]))
    batch = vocabulary.batch(pd.DataFrame({"parts": [()], "dose": 0.0, "covariates": [()]}))
    assert not batch.tokens.any()
    assert not batch.present.any()
