from __future__ import annotations

import pytest

from scperturbrl.datasets import simulated_perturbseq


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_genes", 10),
        ("n_genes", 100.0),
        ("n_singles", 0),
        ("n_singles", 600),
        ("n_doubles", -1),
        ("n_doubles", 191),
        ("n_cells_per_condition", 0),
        ("n_controls", 0),
        ("n_controls", True),
        ("cell_types", ()),
        ("cell_types", "AB"),
        ("cell_types", ("A", "A")),
        ("cell_types", ("A/B",)),
        ("cell_types", ("control",)),
        ("cell_types", ("A", 1)),
        ("n_programs", 2),
        ("n_pathways", 0),
        ("n_pathways", 25),
        ("fraction_additive", -0.1),
        ("fraction_buffered", 1.5),
        ("fraction_epistatic", 0.9),
        ("fraction_nonresponding", 2),
        ("effect_size", -1),
        ("effect_size", float("nan")),
        ("target_effect", float("inf")),
        ("target_effect", "high"),
        ("doses", ()),
        ("doses", (0, 1)),
        ("doses", (1, 1)),
        ("doses", 1.0),
        ("library_size", 0),
        ("dispersion", -3),
        ("seed", -1),
        ("seed", 1.5),
    ],
)
def test_a_bad_argument_is_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        simulated_perturbseq(**{name: value})


def test_settings_are_kept_with_the_truth(dosed):
    parameters = dosed.uns["truth"]["parameters"]
    assert parameters["seed"] == 4
    assert parameters["doses"].tolist() == [10, 0.1, 1]
    assert parameters["cell_types"].tolist() == ["A"]


def test_without_doses_there_is_no_dose_column(screen):
    assert "dose" not in screen.obs
    assert "doses" not in screen.uns["truth"]["parameters"]
