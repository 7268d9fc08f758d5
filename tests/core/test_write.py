from __future__ import annotations

import numpy as np
import pytest

from scperturbrl._core.write import ABSENT, write


def test_all_entries_are_written(toy):
    coordinates, column = np.zeros((toy.n_obs, 2)), np.arange(toy.n_obs)
    write(toy, obsm={"new": coordinates}, obs={"new": column}, uns={"pathway_network": ABSENT, "not there": ABSENT})
    assert toy.obsm["new"] is coordinates
    assert toy.obs["new"].tolist() == column.tolist()
    assert "pathway_network" not in toy.uns


@pytest.mark.parametrize("slot", ["layers", "obs", "obsm", "varm"])
def test_what_cannot_be_written_takes_the_rest_back(toy, digest, slot):
    toy.obs["old"] = 1.5
    before = digest(toy)
    entries = {
        "obs": {"old": 2, "fine": 1},
        "uns": {"pathway_network": ABSENT},
        "varm": {"fine": np.ones((toy.n_vars, 1))},
    }
    entries[slot] = entries.get(slot, {}) | {"wrong": np.ones((3, 2))}
    with pytest.raises(ValueError, match=r"3|shape"):
        write(toy, **entries)
    assert digest(toy) == before


def test_a_view_of_an_annotated_data_becomes_one(toy):
    view = toy[:50]
    with pytest.warns(UserWarning, match="view"):
        write(view, obs={"new": 1})
    assert view.obs["new"].eq(1).all()
    assert "new" not in toy.obs
