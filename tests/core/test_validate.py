from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scperturbrl._core import validate


def with_columns(*names):
    return AnnData(
        np.ones((2, 1), dtype=np.float32), obs=pd.DataFrame({name: ["a", "b"] for name in names}, index=["x", "y"])
    )


def test_near_matches_names_the_closest_first():
    assert validate.near_matches("perturbatoin", ["batch", "perturbation"]) == " Did you mean 'perturbation'?"


def test_near_matches_ignores_case():
    assert "'DMSO'" in validate.near_matches("dmso", ["DMSO", "x"])


def test_near_matches_adds_usual_names_that_exist():
    hint = validate.near_matches("pert", ["drug", "batch", "pertt"], usual=("drug", "gene"))
    assert hint == " Did you mean 'pertt', 'drug'?"


def test_near_matches_lists_a_short_list():
    assert validate.near_matches("qqqq", ["a", "b"]) == " Available: 'a', 'b'."


def test_near_matches_cuts_a_long_list():
    hint = validate.near_matches("qqqq", [f"x{i}" for i in range(40)])
    assert hint.endswith("'x14', ....")
    assert "'x15'" not in hint


@pytest.mark.parametrize(
    ("role", "column"), [("perturbation", "drug"), ("covariate", "patient_id"), ("dose", "dosage"), ("dose", "Dose")]
)
def test_a_missing_column_names_columns_usual_for_its_role(role, column):
    with pytest.raises(KeyError, match=f"wanted as the {role} column.*Did you mean '{column}'"):
        validate.check_obs_column(with_columns("zzzz", column), "missing", role=role)


def test_a_misspelt_column_is_found_although_another_has_a_usual_name():
    with pytest.raises(KeyError, match="'my_perturbation'.*'gene'"):
        validate.check_obs_column(with_columns("my_perturbation", "gene"), "my_perturb", role="perturbation")


def test_missing_values_are_counted():
    adata = with_columns("drug")
    adata.obs["drug"] = ["a", None]
    with pytest.raises(ValueError, match=r"has 1 missing values"):
        validate.check_obs_column(adata, "drug", role="perturbation")


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_check_positive_names_the_value(value):
    with pytest.raises(ValueError, match=f"`n_steps` is {value!r}; it must be above 0"):
        validate.check_positive(width=1, n_steps=value)


@given(st.floats(allow_nan=False))
def test_check_fraction_accepts_exactly_the_half_open_interval(value):
    if 0 <= value < 1:
        validate.check_fraction(fraction=value)
    else:
        with pytest.raises(ValueError, match="at least 0 and below 1"):
            validate.check_fraction(fraction=value)


def test_check_choice_lists_the_choices():
    with pytest.raises(ValueError, match=r"`method` is 'ttest'; it must be one of 'welch', 'wilcoxon'"):
        validate.check_choice("method", "ttest", ["welch", "wilcoxon"])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([[0.0, 3.0], [1.0, 2.0]], ValueError, "whole numbers only"),
        ([[0.0, 31.5], [1.0, 2.0]], ValueError, "up to 31.5, too high"),
        ([[0.0, -0.5], [1.0, 2.0]], ValueError, "negative values, so it looks scaled"),
        ([[0.0, np.nan], [1.5, 2.0]], ValueError, "NaN or infinite"),
        ([[0.0, np.inf], [1.5, 2.0]], ValueError, "NaN or infinite"),
        ([[0.0, 0.0], [0.0, 0.0]], ValueError, "every value is zero"),
        ([[False, True], [True, False]], TypeError, "dtype bool; expression must be numeric"),
    ],
)
def test_each_wrong_expression_has_its_own_message(form, values, error, message):
    with pytest.raises(error, match=message):
        validate.check_log_normalised(form(np.array(values)), where="`X`")


def test_the_remedy_for_counts_is_two_lines_of_scanpy():
    with pytest.raises(ValueError, match="raw counts") as caught:
        validate.check_log_normalised(np.array([[1, 2]]), where="`X`")
    assert str(caught.value).splitlines()[1:] == ["sc.pp.normalize_total(adata, target_sum=1e4)", "sc.pp.log1p(adata)"]


def test_text_and_nothing_are_no_expression():
    with pytest.raises(TypeError, match="dtype <U1"):
        validate.check_log_normalised(np.array([["a"]]), where="`X`")
    with pytest.raises(TypeError, match=r"`X` is empty \(None\)"):
        validate.check_log_normalised(None, where="`X`")


@given(st.lists(st.floats(0.01, 24.9).filter(lambda x: x != round(x)), min_size=1, max_size=5))
def test_log_values_pass(values):
    validate.check_log_normalised(np.array([values]), where="`X`")


def test_name_hash_depends_on_order():
    assert validate.name_hash(["a", "b"]) == validate.name_hash(pd.Index(["a", "b"]))
    assert validate.name_hash(["a", "b"]) != validate.name_hash(["b", "a"])
    assert validate.name_hash(["a", "b"]) != validate.name_hash(["ab"])
