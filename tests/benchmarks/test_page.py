from __future__ import annotations

import importlib.util

import pandas as pd
import pytest

if importlib.util.find_spec("benchmarks") is None:
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)

from benchmarks.__main__ import main
from benchmarks.kept import keep, table_file

from benchmarks import calibration, folds, page, verdicts


def results(suite, figures, *, covariates="all", condition="A+B", extra=()):
    """Folds with figures of the generator, the additive rule and no change; the squared error is a thousandth of the distance."""
    models = {
        "generator": "generator",
        "additive": "baseline",
        "control": "baseline",
        **dict.fromkeys(extra, "generator"),
    }
    return pd.DataFrame(
        {
            "suite": suite,
            "seed": seed,
            "model": model,
            "kind": kind,
            "metric": metric,
            "condition": condition,
            "covariates": covariates,
            "value": value * scale,
        }
        for seed, fold in enumerate(figures)
        for (model, kind), value in zip(models.items(), [*fold, *[1.0] * len(extra)], strict=True)
        for metric, scale in (("energy_distance", 1.0), ("mse", 0.001))
    )


@pytest.fixture
def out(tmp_path):
    """Tables of a held-out context, of doubles and of trained conditions."""
    where = tmp_path / "results"
    where.mkdir()
    folds.write(results("kang_types", [(1, 2, 5), (6, 4, 3)], covariates="B"), ["generator"], where, "kang_types")
    doubles = results("norman", [(0.02, -0.01, 1.5)], condition="A+B", extra=["embedding_ridge"])
    many = [doubles.assign(condition=name) for name in ("A+B", "A+C", "A+D", "A+E", "A+F")]
    folds.write(pd.concat(many), ["generator", "embedding_ridge"], where, "real")
    rows = [
        {"suite": "kang", "seed": 1, "condition": "x", "model": model, "metric": metric, "value": value}
        for model, value in (("generated", 0.3), ("controls", 0.9), ("halves", 0.1))
        for metric in ("energy_distance", "mse", "zero_fraction_error", "classifier_auroc")
    ]
    keep(pd.DataFrame(rows), table_file(where, "trained"))
    return where


def test_the_page_has_every_fold_with_its_own_best_rule_and_the_command(out, tmp_path, capsys):
    main(["results", "--out", str(out), "--page", str(tmp_path)])
    assert capsys.readouterr().out.strip() == str(tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text()
    assert "| kang_types 0: B | 1 (0.50) | 2 (additive) | 5 | 1 (0.50) | 2 (additive) | 5 |" in text
    assert "| kang_types 1: B | 6 (2.00) | 3 (no change) | 3 | 6 (2.00) | 3 (no change) | 3 |" in text
    assert (
        "By energy distance, the generator is closer than the best simple rule in 1 of 2 folds and closer than no change in 1."
        in text
    )
    assert "python -m benchmarks folds --suites kang_types --seeds 2\n" in text
    assert "python -m benchmarks folds --suite real --seeds 1 --models generator embedding_ridge\n" in text
    assert "python -m benchmarks trained --suites kang --seeds 2\n" in text
    assert "| kang | 1 | 0.3 (0.9; 0.1) |" in text
    assert text.index("## Held-out contexts: kang types") < text.index("## Combinations: real")
    assert max(row.count("|") for row in text.splitlines()) == 8


def test_a_fold_without_the_generator_is_left_out(out):
    whole = page.found(out)["kang_types"]
    rows = results("kang_types", [(1, 2, 5), (6, 4, 3)], covariates="B")
    folds.write(rows[(rows["seed"] == 0) | (rows["kind"] == "baseline")], ["generator"], out, "kang_types")
    left = page.found(out)["kang_types"]
    assert (set(whole["seed"]), set(left["seed"])) == ({0, 1}, {0})


def test_distances_below_0_have_no_ratio_and_many_conditions_are_counted(out):
    text = page.page(page.found(out), pd.DataFrame())
    assert "| norman 0: A+B, A+C, A+D and 2 more | 0.02 | -0.01 (additive) | 1.5 |" in text
    assert "Trained conditions" not in text
    assert "| a combination | CRISPR activation in K562 | 1 | 0 | - | - |" in page.short(page.found(out))


def test_the_readme_gets_its_table_between_its_marks(out, tmp_path):
    docs, readme = tmp_path / "docs", tmp_path / "README.md"
    docs.mkdir()
    readme.write_text(f"before\n{page.BEGIN}of last year\n{page.END}after\n")
    for _ in range(2):
        page.write(out, docs)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "of last year" not in text
    assert "| a context | interferon on blood cells | 2 | 1 | 1.25 (0.50 to 2.00) | 1.25 (0.50 to 2.00) |" in text
    assert "| a combination | CRISPR activation in K562 | 1 | 0 | - |" in text


def test_a_readme_without_marks_stays_as_it_is(out, tmp_path):
    docs, readme = tmp_path / "docs", tmp_path / "README.md"
    docs.mkdir()
    readme.write_text("as it is\n")
    page.write(out, docs)
    assert readme.read_text() == "as it is\n"


def test_nothing_measured_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no folds_"):
        page.write(tmp_path, tmp_path)


def test_verdicts_come_first_and_every_table_has_its_calibration(out, tmp_path, capsys):
    extra = {"role": "held-out", "told_apart": 1.0, "dynamic_range": 0.5, "calibrated": True}
    table = results("kang_types", [(1, 2, 5), (3, 4, 6)], condition="C").assign(**extra)
    table["scaled"] = -table["value"]
    verdicts.write(table, out, "real")
    calibration.write(table, out)
    main(["results", "--out", str(out), "--page", str(tmp_path)])
    capsys.readouterr()
    text = (tmp_path / "results.md").read_text()
    assert text.index("## Verdicts: real") < text.index("## Held-out contexts: kang types")
    assert "| generator | 2 | 2 | additive | better | 1: MSE | 0 | 0 |" in text
    assert "python -m benchmarks verdicts --suite real --seeds 2\n" in text
    # below the verdicts and below the folds of this data set; nothing is known of the others
    assert text.count("**Calibration, kang_types** (2 held-out conditions). 2 of 2 metrics") == 2
