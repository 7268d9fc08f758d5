from __future__ import annotations

import pytest

from scperturbrl.data.evaluation.roles import ancestry, metric_roles

REWARDED = {"method": "rl_finetune", "verifiers": {"pathway_activity": {}}, "network": "abc", "energy_steps": 0}


def roles(params, metrics, networks=None):
    return metric_roles(metrics, params, networks or {"pathway": "abc", "hallmark": "xyz"})


def test_only_the_rewarded_network_is_related():
    found = roles([REWARDED], ["score_pathway_activity", "pathway_recovery", "hallmark_recovery"])
    assert list(found.values()) == ["rewarded", "related", "held-out"]


def test_the_same_gene_sets_under_another_name_are_related():
    found = roles([REWARDED], ["hallmark_correlation"], {"hallmark": "abc"})
    assert found == {"hallmark_correlation": "related"}


def test_a_network_that_was_not_recorded_taints_all():
    params = {name: value for name, value in REWARDED.items() if name != "network"}
    assert roles([params], ["hallmark_recovery"]) == {"hallmark_recovery": "related"}


def test_rewards_that_took_no_step_do_not_count():
    found = roles(
        [REWARDED | {"reward_steps": 0, "energy_steps": 2}], ["score_pathway_activity", "energy_distance", "mmd"]
    )
    assert list(found.values()) == ["held-out", "rewarded", "related"]


def test_a_generator_without_rewards_taints_nothing():
    assert roles([{"method": "fit_generator"}], ["mse", "energy_distance"]) == {
        "mse": "held-out",
        "energy_distance": "held-out",
    }


def test_ancestors_count_and_circles_end():
    uns = {
        "child": {"params": {"method": "fit_generator", "parent": "rl"}},
        "rl": {"params": REWARDED | {"parent": "base"}},
        "base": {"params": {"parent": "child"}},
    }
    found = ancestry(uns, "child")
    assert [one.get("method") for one in found] == ["fit_generator", "rl_finetune", None]
    assert roles(found, ["score_pathway_activity"]) == {"score_pathway_activity": "rewarded"}


@pytest.mark.parametrize("key", ["", "absent"])
def test_no_generator_has_no_ancestors(key):
    assert ancestry({}, key) == []
