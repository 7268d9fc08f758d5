from __future__ import annotations

import numpy as np
import pytest

from scperturbrl.data.evaluation.gene_sets import gene_sets


def test_the_stored_network_comes_first_and_others_follow_under_their_names(toy):
    network = toy.uns["pathway_network"]
    found = gene_sets(toy, {"mine": network})
    assert list(found) == ["pathway", "mine"]
    np.testing.assert_array_equal(*found.values())


def test_the_name_of_the_stored_network_is_taken(toy):
    with pytest.raises(ValueError, match="`networks` names 'pathway', which is the stored pathway network"):
        gene_sets(toy, {"pathway": toy.uns["pathway_network"]})


def test_targets_in_another_case_are_told_and_none_at_all_refused(toy):
    network = toy.uns["pathway_network"]
    lower = network["target"].where(np.arange(len(network)) % 3 > 0, network["target"].str.lower())
    with pytest.warns(UserWarning, match="targets of the network, such as 'gene.*but for upper and lower case"):
        gene_sets(toy, {"mine": network.assign(target=lower)})
    with pytest.raises(ValueError, match=r"No set of `networks\['mine'\]` has 5 targets among the 60 genes"):
        gene_sets(toy, {"mine": network.iloc[:2]})
