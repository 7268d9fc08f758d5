from __future__ import annotations

import pandas as pd
import pytest
from benchmarks.arms import BASE, LONGER, RL

from benchmarks import post_training

REAL = "split_half"
VALUES = {
    "score_pearson_topk": {REAL: 0.6, BASE: 0.5, LONGER: 0.5, RL: 0.53},
    "score_rmse_topk": {REAL: 0.5, BASE: 0.5, LONGER: 0.5, RL: 0.51},
    "score_de_spearman": {REAL: 0.4, BASE: 0.2, LONGER: 0.3, RL: 0.35},
    "score_pathway_activity": {REAL: 0.7, BASE: 0.6, LONGER: 0.6, RL: 0.6},
    "energy_distance": {REAL: 0.1, BASE: 1.0, LONGER: 1.0, RL: 0.8},
    "mmd": {REAL: 0.0, BASE: 0.02, LONGER: 0.02, RL: 0.01},
    "pearson_delta_systema": {REAL: 0.9, BASE: 0.7, LONGER: 0.7, RL: 0.75},
    "discrimination": {REAL: 1.0, BASE: 0.9, LONGER: 0.9, RL: 0.9},
    "de_overlap": {REAL: 0.8, BASE: 0.5, LONGER: 0.5, RL: 0.4},
    "variance_ratio": {REAL: 1.0, BASE: 1.0, LONGER: 1.0, RL: 1.0},
}


def measured(seed=0, **change):
    """Two conditions with the same values, as `grid.collect` returns them."""
    rows = [
        {"suite": "toy", "seed": seed, "condition": c, "model": model, "metric": metric, "value": value}
        for metric, values in VALUES.items()
        for model, value in (values | change.get(metric, {})).items()
        for c in "AB"
    ]
    seconds = {BASE: 100.0, LONGER: 40.0, RL: 40.0}
    frame = pd.DataFrame(rows)
    return frame.assign(cpu_seconds=frame["model"].map(seconds))


def test_a_run_has_means_and_seconds():
    found = post_training.runs(measured())
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["seconds"], row["fit_seconds"]) == (40, 100)
    assert row[f"de_overlap:{RL}"] == pytest.approx(0.4)


def test_runs_without_post_training_are_left_out():
    other = measured(seed=1)
    found = post_training.runs(pd.concat([measured(), other[other["model"] != RL]]))
    assert found["seed"].tolist() == [0]


def test_shares_ratios_and_rises_are_shown():
    text = post_training.markdown(post_training.runs(measured()))
    row = next(line for line in text.splitlines() if line.startswith("| toy 0"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:5] == ["+0.0300 (0.30)", "+0.0100 (no gap)", "+0.0500 (0.50)", "+0.0000 (0.00)"]
    assert cells[5:7] == ["0.800", "0.500"]
    assert cells[7:] == ["+0.050", "+0.000", "-0.100", "40 of 100"]
    assert "changed 1 of 1 runs and harmed 0" in text
    assert "median ratio of the energy distance 0.80" in text


@pytest.mark.parametrize(("own", "harmed"), [(1.02, False), (1.04, True), (0.5, False)])
def test_harm_is_a_rise_of_three_percent(own, harmed):
    found = post_training.runs(measured(energy_distance={RL: own}))
    assert post_training.harmed(found).tolist() == [harmed]


def test_a_rise_below_the_distance_of_real_cells_is_noise():
    found = post_training.runs(measured(energy_distance={REAL: 0.1, LONGER: 0.02, RL: 0.05}))
    assert post_training.harmed(found).tolist() == [False]
    # both are as close as real cells, so the ratio would be meaningless
    assert "| 0.0500 (0.0200) |" in post_training.markdown(found)


def test_the_pretrained_generator_is_no_change():
    same = {metric: {RL: values[BASE]} for metric, values in VALUES.items()}
    assert post_training.changed(post_training.runs(measured(**same))).tolist() == [False]
    assert post_training.changed(post_training.runs(measured())).tolist() == [True]
