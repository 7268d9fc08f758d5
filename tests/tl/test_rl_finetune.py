from __future__ import annotations

import os
import signal
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

import scperturbrl as spr
from scperturbrl import verifiers
from scperturbrl._core import log
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.post_training import run as post_training_run
from scperturbrl.metrics import energy_distance
from scperturbrl.rl.finetuner import Finetuner

TINY = {"n_iterations": 2, "n_conditions": 2, "group_size": 4, "progress": False}


def training_conditions(adata):
    return list(adata.varm["perturbation_effect"].columns)


def measure(adata, key):
    """Energy distance to real training cells, size of the effects, and raw scores, of freshly generated cells."""
    spr.tl.generate(adata, key=key, seed=11)
    spr.tl.score(adata, layer=key)
    real, made = adata.X.toarray(), adata.layers[key].toarray()
    train = (adata.obs["split"] == "train").to_numpy()
    control = real[(adata.obs["perturbation"] == "control").to_numpy()].mean(0)
    pca = PCA(12).fit(real[train])
    energy, size = [], []
    for condition in training_conditions(adata):
        own = (adata.obs["perturbation"] == condition).to_numpy()
        energy.append(energy_distance(pca.transform(made[own]), pca.transform(real[own])))
        effects = [np.linalg.norm(cells[own].mean(0) - control) for cells in (made, real)]
        size.append(effects[0] / effects[1])
    scores = adata.obsm[f"score_{key}"][train].mean()
    return np.mean(energy), np.mean(size), scores, np.nanmean(adata.obs[f"{key}_reward"][train])


def post_train(adata, key, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        spr.tl.rl_finetune(adata, key_added=key, progress=False, **options)
    return [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


def test_slots_are_as_documented(fitted):
    before = fitted.copy()
    assert spr.tl.rl_finetune(fitted, **TINY) is None
    assert set(fitted.uns) - set(before.uns) == {"generator_rl"}
    assert (fitted.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(fitted.obs, before.obs)
    parent, record = fitted.uns["generator"], fitted.uns["generator_rl"]
    assert sorted(record) == sorted(parent)
    assert record["params"]["parent"] == "generator"
    assert record["params"]["method"] == "rl_finetune"
    assert list(record["params"]["verifiers"]) == list(verifiers.DEFAULT)
    assert record["params"]["verifier_weights"] == dict.fromkeys(verifiers.DEFAULT, 1.0) | {"rmse_topk": 8.0}
    assert {"seed", "versions"} <= set(record["params"])
    found = {"alarms", "kept_iteration", "left_out", "outcome", "stopped", "seconds", "skipped_steps"}
    assert set(record["fitted"]) == found | {"linear", "self_check"}
    vitals = [f"check_{name}" for name in ("energy", "validation_energy", "spread", "drift", "reward")]
    vitals += ["check_energy_error", "check_validation_error"]
    vitals += [f"check_{name}" for name in ("unrewarded", "gain", "gain_error", "rise", "rise_error")]
    expected = ["iteration", "reward", "reward_sd", "distance", *verifiers.DEFAULT, *vitals, "anchor"]
    assert list(record["history"].columns) == expected
    assert record["history"]["iteration"].tolist() == [0, 2]
    for name, value in record["weights"].items():
        if name.startswith(("space", "observation")):
            np.testing.assert_array_equal(value, parent["weights"][name])
    assert all(np.array_equal(parent["weights"][k], before.uns["generator"]["weights"][k]) for k in parent["weights"])


def test_the_same_seed_gives_the_same_weights(fitted):
    for key, seed in (("a", 0), ("b", 0), ("c", 1)):
        spr.tl.rl_finetune(fitted, key_added=key, guard=False, seed=seed, **TINY)
    a, b, c = (fitted.uns[key]["weights"] for key in "abc")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert any(not np.array_equal(a[name], c[name]) for name in a)


def test_held_out_cells_do_not_matter(fitted):
    spoilt = fitted.copy()
    rows = np.flatnonzero(spoilt.obs["split"] == "test")
    values = spoilt.X.toarray()
    values[rows] = values[rows[::-1]] * 0.5
    spoilt.X = type(spoilt.X)(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(spoilt)
    for adata in (fitted, spoilt):
        spr.tl.rl_finetune(adata, guard=False, **TINY)
    one, other = (adata.uns["generator_rl"] for adata in (fitted, spoilt))
    assert all(np.array_equal(one["weights"][name], other["weights"][name]) for name in one["weights"])
    pd.testing.assert_frame_equal(one["history"], other["history"])


def test_verifiers_and_weights_can_be_chosen(fitted):
    chosen = ["rmse_topk", verifiers.pearson_topk(n_genes=12)]
    spr.tl.rl_finetune(fitted, verifiers=chosen, weights={"rmse_topk": 2.0}, **TINY)
    params = fitted.uns["generator_rl"]["params"]
    assert params["verifiers"]["pearson_topk"]["n_genes"] == 12
    assert params["verifier_weights"] == {"rmse_topk": 2.0, "pearson_topk": 1.0}
    assert "de_spearman" not in fitted.uns["generator_rl"]["history"]


def test_rewards_rise_on_training_conditions(screen):
    equal = dict.fromkeys(verifiers.DEFAULT, 1.0)
    options = {"weights": equal, "anchor": 0.2, "n_iterations": 25}
    post_train(screen, "generator_rl", guard=False, **options)
    before, after = measure(screen, "generator"), measure(screen, "generator_rl")
    assert after[3] > before[3] + 0.02
    assert after[2]["pearson_topk"] > before[2]["pearson_topk"]
    # held by the anchor and the energy steps: far from the hundredfold of unanchored optimisation
    assert after[1] < 1.3
    history = screen.uns["generator_rl"]["history"]
    assert history["check_drift"].iloc[-1] < 0.05


HACKED = {
    "calibrate": False,
    "update_rule": "nft",
    "anchor": 0.0,
    "energy_steps": 0,
    "learning_rate": 2e-3,
    "n_iterations": 75,
    "n_conditions": 8,
    "group_size": 16,
}


def test_unanchored_optimisation_hacks_the_rewards(screen):
    assert post_train(screen, "hacked", guard=False, **HACKED) == []
    energy, size, scores, _ = measure(screen, "generator")
    hacked_energy, hacked_size, hacked_scores, _ = measure(screen, "hacked")
    assert energy < 0.1
    assert 0.8 < size < 1.2
    # in units of the distance of control cells, so farther away than these; measured: -.01 and 1.6
    assert hacked_energy > 1.2
    assert hacked_size > 1.4
    spr.tl.score(screen)
    real = screen.obsm["score_observed"][screen.obs["split"] == "train"].mean()
    for name in ("pearson_topk", "de_spearman", "pathway_activity"):
        assert hacked_scores[name] > real[name] + 0.1
    assert hacked_scores.mean() > real.mean() + 0.1
    fitted = screen.uns["hacked"]["fitted"]
    assert fitted["stopped"] == "all iterations done"
    assert fitted["kept_iteration"] == 75
    # an inactive guard reports what it would have done
    assert any("energy rose" in text for text in fitted["alarms"])


def test_the_guard_prevents_it(screen):
    message = post_train(screen, "guarded", guard=True, **HACKED)
    assert len(message) == 1
    assert "stopped by its guard" in message[0]
    assert "was kept" in message[0]
    record = screen.uns["guarded"]
    fitted, history = record["fitted"], record["history"].set_index("iteration")
    assert fitted["stopped"].startswith("guard: ")
    assert any(": energy rose" in text for text in fitted["alarms"])
    assert history.index[-1] < 75
    vitals = history.loc[fitted["kept_iteration"]]
    for name in ("check_energy", "check_validation_energy"):
        start = history[name].iloc[0]
        assert vitals[name] <= start + record["params"]["limits"]["energy"] + 0.1 * max(start, 0)
    energy, *_ = measure(screen, "generator")
    guarded_energy, guarded_size, *_ = measure(screen, "guarded")
    assert guarded_energy < energy + 0.05
    assert 0.8 < guarded_size < 1.2


def test_calibrated_rewards_are_harder_to_hack(screen):
    options = HACKED | {"n_iterations": 20, "n_conditions": 4}
    post_train(screen, "raw", guard=False, **options)
    post_train(screen, "calibrated", guard=False, **options | {"calibrate": True, "anchor": 0.5, "energy_steps": 2})
    energy = {key: screen.uns[key]["history"]["check_energy"].iloc[-1] for key in ("raw", "calibrated")}
    assert energy["calibrated"] < 0.3 * energy["raw"]


def test_an_interrupt_keeps_what_was_reached(fitted, monkeypatch):
    iterate, timer = Finetuner.iterate, threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))

    def interrupted(self, iteration):
        if iteration == 4:
            timer.start()
            timer.join()
        return iterate(self, iteration)

    monkeypatch.setattr(Finetuner, "iterate", interrupted)
    spr.tl.rl_finetune(fitted, **TINY | {"n_iterations": 1000, "guard": False, "learning_rate": 1e-4})
    record = fitted.uns["generator_rl"]
    assert record["fitted"]["stopped"] == "interrupted"
    assert record["fitted"]["kept_iteration"] == record["history"]["iteration"].iloc[-1] == 4
    changed = [
        not np.array_equal(value, fitted.uns["generator"]["weights"][name]) for name, value in record["weights"].items()
    ]
    assert any(changed)
    spr.tl.generate(fitted, key="generator_rl")
    spr.tl.rl_finetune(fitted, key="generator_rl", key_added="further", **TINY)
    assert fitted.uns["further"]["params"]["parent"] == "generator_rl"


def test_conditions_that_cannot_be_judged_are_left_out_and_named(fitted, monkeypatch):
    condition, notes = training_conditions(fitted)[0], []
    monkeypatch.setattr(log, "note", notes.append)
    frame = fitted.uns["scperturbrl"]["reference"]["calibration"]
    frame.loc[frame["condition"] == condition, "weight"] = 0.0
    spr.tl.rl_finetune(fitted, **TINY)
    assert notes[0] == f"no verifier can score 1 conditions, which are left out: ['{condition}']"
    assert {note.split()[0] for note in notes[1:]} == set(verifiers.DEFAULT)


def nothing_to_reward(adata):
    adata.uns["scperturbrl"]["reference"]["calibration"]["weight"] = 0.0


def no_reference(adata):
    del adata.uns["scperturbrl"]["reference"]


@pytest.mark.parametrize(
    ("spoil", "options", "error", "message"),
    [
        (None, {"key": "generatr"}, KeyError, r"no generator 'generatr'.*Did you mean 'generator'"),
        (None, {"verifiers": ["rmse"]}, KeyError, r"'rmse'.*'rmse_topk'"),
        (None, {"weights": {"rmse": 1.0}}, KeyError, r"`weights` names \['rmse'\].*'rmse_topk'"),
        (None, {"weights": {"rmse_topk": -1.0}}, ValueError, r"weights\['rmse_topk'\].* is -1\.0"),
        (None, {"weights": [1.0, 2.0]}, TypeError, r"`weights` is \[1\.0, 2\.0\]; give a dictionary"),
        (
            None,
            {"weights": {"rmse_topk": "high"}},
            TypeError,
            r"weights\['rmse_topk'\]` is 'high'; it must be a number",
        ),
        (
            None,
            {"key_added": "generator"},
            ValueError,
            r"`key_added` is 'generator', the generator that is post-trained",
        ),
        (None, {"n_iterations": 0}, ValueError, r"`n_iterations` is 0"),
        (None, {"n_conditions": 0}, ValueError, r"`n_conditions` is 0"),
        (None, {"learning_rate": 0.0}, ValueError, r"`learning_rate` is 0\.0"),
        (None, {"group_size": 1}, ValueError, r"`group_size` is 1; it must be at least 2"),
        (None, {"anchor": -1.0}, ValueError, r"`anchor` is -1\.0"),
        (None, {"energy_steps": -1}, ValueError, r"`energy_steps` is -1"),
        (nothing_to_reward, {}, ValueError, r"nothing to reward\. Check the perturbation labels"),
        (no_reference, {}, ValueError, r"no reference.*pp\.reference"),
    ],
)
def test_errors_name_value_and_remedy(fitted, spoil, options, error, message):
    if spoil:
        spoil(fitted)
    with pytest.raises(error, match=message):
        spr.tl.rl_finetune(fitted, **TINY | options)
    assert "generator_rl" not in fitted.uns


@pytest.mark.parametrize("rule", ["grpo", "value_gradient"])
def test_update_rules_can_be_chosen(fitted, rule):
    if rule == "grpo":
        spr.tl.fit_generator(fitted, source="gaussian", n_steps=20, width=16)
    spr.tl.rl_finetune(fitted, update_rule=rule, guard=False, **TINY)
    assert fitted.uns["generator_rl"]["params"]["update_rule"] == rule
    weights = [fitted.uns[key]["weights"] for key in ("generator", "generator_rl")]
    assert any(not np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_an_unknown_rule_and_a_rule_without_gradients_are_refused(fitted):
    with pytest.raises(ValueError, match=r"`update_rule` is 'ppo'.*'nft'"):
        spr.tl.rl_finetune(fitted, update_rule="ppo", **TINY)
    with pytest.raises(ValueError, match=r"verifiers with gradients.*de_spearman.*'nft'"):
        spr.tl.rl_finetune(fitted, update_rule="value_gradient", verifiers=["de_spearman"], **TINY)
    with pytest.raises(ValueError, match=r"`anchor` is 0"):
        spr.tl.rl_finetune(fitted, update_rule="value_gradient", anchor=0, **TINY)


def test_safeguards_can_be_rewarded(fitted):
    spr.tl.rl_finetune(fitted, verifiers=[*verifiers.DEFAULT, "plausibility", "energy_witness"], **TINY)
    history = fitted.uns["generator_rl"]["history"]
    assert history[["plausibility", "energy_witness"]].notna().all().all()


def test_a_policy_gradient_does_not_start_at_control_cells(toy):
    spr.tl.fit_generator(toy, source="control", n_steps=5, width=16, n_latent=5, n_blocks=1)
    with pytest.raises(ValueError, match=r"grpo.*starts at control cells.*gaussian"):
        spr.tl.rl_finetune(toy, update_rule="grpo", n_iterations=1)


@pytest.mark.parametrize("rule", ["nft", "value_gradient"])
def test_other_rules_do(toy, rule):
    spr.tl.fit_generator(toy, source="control", n_steps=5, width=16, n_latent=5, n_blocks=1)
    spr.tl.rl_finetune(toy, update_rule=rule, n_iterations=2)
    assert np.isfinite(toy.uns["generator_rl"]["history"]["check_reward"]).all()


def test_says_when_no_validation_condition_can_tell(monkeypatch):
    adata = spr.datasets.simulated_contexts(
        n_genes=60, n_singles=3, n_cell_types=2, n_cells_per_condition=20, n_controls=40, n_programs=6, n_pathways=4
    )
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    treated, types = adata.obs["perturbation"] != "control", adata.obs["cell_type"].astype(str)
    adata.obs["side"] = np.where(
        treated & (types == "A1"), "validation", np.where(treated & (types == "A2"), "test", "train")
    )
    spr.pp.split(adata, holdout="column", column="side")
    spr.pp.reference(adata)
    spr.tl.fit_generator(adata, n_steps=10, width=16, n_latent=6, progress=False)
    said = []
    monkeypatch.setattr(log, "note", said.append)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.tl.rl_finetune(adata, **TINY)
        assert sum("left out of the rewards show" in text for text in said) == 1
        # a validation condition of a known context comes from the flow
        known = treated & (types == "B1") & (adata.obs["perturbation"] == adata.obs["perturbation"][treated].iloc[0])
        adata.obs.loc[known, "side"] = "validation"
        spr.pp.split(adata, holdout="column", column="side")
        spr.pp.reference(adata)
        spr.tl.fit_generator(adata, n_steps=10, width=16, n_latent=6, progress=False)
        spr.tl.rl_finetune(adata, **TINY)
    assert sum("left out of the rewards show" in text for text in said) == 1


def combinations_are(part):
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    adata.obs["side"] = np.where(adata.obs["perturbation"].astype(str).str.contains("+", regex=False), part, "train")
    spr.pp.split(adata, holdout="column", column="side")
    spr.pp.reference(adata)
    spr.tl.fit_generator(adata, n_steps=10, width=16, n_latent=6, progress=False)
    spr.tl.rl_finetune(adata, **TINY)
    return adata


def test_without_validation_conditions_the_few_training_conditions_are_not_spared():
    found = combinations_are("test").uns["generator_rl"]["fitted"]
    assert (found["left_out"], found["kept_iteration"]) == ([], 0)
    assert "its gain cannot be assessed" in found["outcome"]


def test_validation_conditions_are_judged_by_their_own_cells(monkeypatch):
    # training has no combination, so the effect of one cannot be predicted
    asked = []
    score = post_training_run.validation_reward
    monkeypatch.setattr(
        post_training_run, "validation_reward", lambda *args: asked.append((args[3], *score(*args))) or asked[-1][1:]
    )
    adata = combinations_are("validation")
    ((names, reward, real),) = asked
    cells = Cells.of(adata)
    assert names == cells.conditions("validation", min_cells=10)
    assert list(reward.reference.conditions) == names
    own = cells.block(np.flatnonzero(cells.codes == cells.rows(names)[0])).mean(0)
    control = cells.block(np.flatnonzero(cells.table["is_control"].to_numpy()[cells.codes])).mean(0)
    # two thirds of the cells
    assert np.corrcoef(reward.reference.effect[0], own - control)[0, 1] > 0.8
    assert real.shape == (len(names), len(reward.verifiers))
    assert "validation conditions that were not rewarded" in adata.uns["generator_rl"]["fitted"]["outcome"]
