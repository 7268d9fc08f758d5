from __future__ import annotations

import pytest

import scperturbrl as spr


@pytest.mark.parametrize(
    "call",
    [
        lambda adata: spr.tl.score(adata),
        lambda adata: spr.tl.rl_finetune(adata, n_iterations=1, progress=False),
        lambda adata: spr.tl.evaluate(adata, n_cells=20),
    ],
    ids=["score", "rl_finetune", "evaluate"],
)
def test_a_network_changed_since_the_reference_is_refused(fitted, digest, call):
    network = fitted.uns["pathway_network"]
    fitted.uns["pathway_network"] = network.assign(weight=-network["weight"])
    before = digest(fitted)
    with pytest.raises(ValueError, match=r"uns\['pathway_network'\].*pp\.reference\(adata\)` again"):
        call(fitted)
    assert digest(fitted) == before
