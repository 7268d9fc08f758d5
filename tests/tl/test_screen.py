from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scperturbrl as spr
from scperturbrl.data.cells.cells import Cells
from scperturbrl.tl import _screen as screening


@pytest.fixture(scope="module")
def drawn():
    adata = spr.datasets.simulated_perturbseq(
        n_genes=120,
        n_singles=9,
        n_doubles=20,
        n_cells_per_condition=40,
        n_controls=200,
        n_programs=6,
        n_pathways=4,
        library_size=3000,
        dispersion=6.0,
        seed=3,
    )
    spr.pp.pathway_network(adata, adata.uns["pathway_network"])
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, holdout="combinations", fraction=0.3, seed=3)
    return adata


@pytest.fixture
def pairs(drawn):
    return drawn.copy()


def means(adata):
    cells = Cells.of(adata)
    return {name: np.asarray(adata.X[cells.codes == row].mean(0)).ravel() for row, name in enumerate(cells.table.index)}


def activities(adata, names, pathway):
    network, found = adata.uns["pathway_network"], means(adata)
    own = network[network["source"] == pathway].set_index("target")["weight"]
    weights = own.reindex(adata.var_names).fillna(0).to_numpy()
    return [stats.linregress(weights, found[name] - found["control"]).slope for name in names]


def trained(adata):
    own = adata.obs.loc[adata.obs["split"] == "train", "perturbation"].astype(str).unique()
    return sorted(name for name in own if name != "control" and "+" not in name)


def test_all_pairs_of_trained_perturbations(pairs, digest):
    x = digest(pairs[:, :])
    spr.tl.screen(pairs, "pairs", objective="size")
    table = pairs.uns["screen"]["table"]
    assert len(table) == 9 * 8 // 2
    assert table["rank"].tolist() == list(range(1, 37))
    assert (table["n_parts"] == 2).all()
    held_out = pairs.obs.loc[pairs.obs["split"] == "test", "perturbation"].astype(str).unique()
    assert (table.loc[held_out, "kind"] == "combination").all()
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    del pairs.uns["screen"]
    assert digest(pairs[:, :]) == x


def test_values_are_activities_of_the_predicted_effect(pairs):
    spr.tl.screen(pairs, "singles", objective={"PATHWAY01": -1})
    table = pairs.uns["screen"]["table"]
    measured = table[table["kind"] == "measured"]
    expected = activities(pairs, measured.index, "PATHWAY01")
    np.testing.assert_allclose(-measured["value"], expected, atol=1e-5)


def test_held_out_pairs_are_ranked(pairs):
    held_out = pairs.obs.loc[pairs.obs["split"] == "test", "perturbation"].astype(str).unique()
    found, truth = [], []
    for pathway in sorted(pairs.uns["pathway_network"]["source"].unique()):
        spr.tl.screen(pairs, "pairs", objective=pathway)
        table = pairs.uns["screen"]["table"]
        found += table.loc[held_out, "value"].tolist()
        truth += activities(pairs, held_out, pathway)
        assert (table.loc[held_out, "support"] == "supported").all()
    assert stats.spearmanr(found, truth)[0] > 0.7


def test_held_out_cells_change_nothing(pairs):
    spr.tl.screen(pairs, "pairs", objective={"PATHWAY01": 1, "size": 1})
    before = pairs.uns["screen"]["table"]
    order, held_out = np.arange(pairs.n_obs), np.flatnonzero(pairs.obs["split"] != "train")
    order[held_out] = np.random.default_rng(0).permutation(held_out)
    pairs.X = pairs.X[order]
    spr.tl.screen(pairs, "pairs", objective={"PATHWAY01": 1, "size": 1})
    pd.testing.assert_frame_equal(before, pairs.uns["screen"]["table"])


def test_several_terms_are_listed_and_weighed(pairs):
    up, down = list(pairs.var_names[:5]), list(pairs.var_names[5:9])
    spr.tl.screen(pairs, "pairs", objective={"size": 0.5}, signature={"up": up, "down": down})
    screen = pairs.uns["screen"]
    table, scales, weights = screen["table"], screen["params"]["scales"], screen["params"]["objective"]
    assert weights == {"signature": 1.0, "size": 0.5}
    expected = sum(weights[name] * table[f"value_{name}"] / scales[name] for name in weights)
    np.testing.assert_allclose(table["value"], expected, atol=1e-5)


def test_towards_a_population_is_the_cosine_with_the_way_there(pairs):
    target = trained(pairs)[0]
    spr.tl.screen(pairs, "singles", towards=f"perturbation == {target!r}")
    inside = spr.get.screen(pairs)["value"]
    other = pairs[pairs.obs["perturbation"] == target].copy()
    spr.tl.screen(pairs, "singles", towards=other)
    np.testing.assert_allclose(spr.get.screen(pairs)["value"].loc[inside.index], inside, atol=1e-5)
    assert inside[target] == pytest.approx(1, abs=1e-4)
    fall = spr.get.screen(pairs)["energy_fall"]
    assert fall[target] == fall.max() == pytest.approx(1, abs=0.05)
    assert fall[trained(pairs)].lt(0.95).sum() == len(trained(pairs)) - 1


def test_like_a_condition_and_any_function_of_cells(pairs):
    name = trained(pairs)[0]
    spr.tl.screen(pairs, "singles", like=name)
    assert spr.get.screen(pairs).loc[name, "value"] == pytest.approx(1, abs=1e-4)

    def first_gene(cells):
        return cells[:, 0]

    spr.tl.screen(pairs, "singles", objective=first_gene)
    table = spr.get.screen(pairs)
    own = table[table["kind"] == "measured"]
    np.testing.assert_allclose(own["value"], [means(pairs)[name][0] for name in own.index], atol=1e-5)
    assert pairs.uns["screen"]["params"]["objective"] == {"first_gene": 1.0}


def test_lists_tables_and_what_nothing_is_known_of(pairs):
    names = trained(pairs)
    asked = [f"{names[0]}+{names[1]}", "NOVEL", f"NOVEL+{names[0]}"]
    spr.tl.screen(pairs, asked, objective="size")
    table = spr.get.screen(pairs)
    assert table["value"].notna().sum() == 1
    assert table.loc[["NOVEL", table.index[1]], "support"].tolist() == ["unsupported"] * 2
    assert np.isnan(table.loc["NOVEL", "expected_error"])
    spr.tl.screen(pairs, pd.DataFrame({"perturbation": asked[:1]}), objective="size")
    assert spr.get.screen(pairs)["value"].tolist() == table["value"].dropna().tolist()


def test_it_survives_a_file(pairs, tmp_path):
    spr.tl.screen(pairs, "pairs", objective={"size": 1, "PATHWAY02": 1})
    pairs.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    before, after = spr.get.screen(pairs), spr.get.screen(back)
    pd.testing.assert_frame_equal(before, after, check_dtype=False, check_names=False, check_index_type=False)
    assert len(spr.tl.propose(back, n=3)) == 3


def test_the_generator_makes_cells_of_the_best(fitted):
    spr.tl.screen(fitted, "pairs", objective="size", n_refine=3, n_cells=30, device="cpu")
    table = spr.get.screen(fitted)
    made = table[table["made_cells"]]
    assert len(made) == 3
    assert (made["kind"] != "measured").all()
    assert made["spread"].gt(0).all()
    assert fitted.uns["screen"]["params"]["key"] == "generator"
    unrefined = table[~table["made_cells"] & (table["kind"] != "measured")]
    # one order for all, whoever predicted
    assert table["value"].is_monotonic_decreasing
    assert table["rank"].is_monotonic_increasing
    # the line puts them first, too
    assert made["line"].min() >= unrefined["line"].max()
    intervals = ["line", "low", "high", "top_probability"]
    before = table[intervals]
    spr.tl.screen(fitted, "pairs", objective="size", n_refine=0)
    assert not spr.get.screen(fitted)["made_cells"].any()
    # intervals are those of the line, with and without cells
    pd.testing.assert_frame_equal(spr.get.screen(fitted)[intervals].loc[before.index], before)


def test_cells_that_are_worth_less_than_the_line_said_lose_their_rank(fitted, monkeypatch):
    made = []

    def worthless(*args, **options):
        found = refine(*args, **options)
        made.append(found)
        return found._replace(values=found.values * 0 + 1e-9)

    refine = screening.refine
    monkeypatch.setattr(screening, "refine", worthless)
    notes = []
    monkeypatch.setattr(screening.log, "note", notes.append)
    spr.tl.screen(fitted, "pairs", objective="size", n_refine=3, n_cells=5, device="cpu")
    table = spr.get.screen(fitted)
    assert table["made_cells"].tail(3).all()
    assert len(made) == 1
    assert any("of the best 3 new candidates have no generated cells" in note for note in notes)


def test_an_interval_ends_where_the_objective_does(pairs):
    spr.tl.screen(pairs, "pairs", objective="size")
    assert (spr.get.screen(pairs)["low"] >= 0).all()
    spr.tl.screen(pairs, "pairs", objective={"size": -1})
    assert (spr.get.screen(pairs)["high"] <= 0).all()
    spr.tl.screen(pairs, "pairs", like=trained(pairs)[0])
    assert spr.get.screen(pairs)[["low", "high"]].abs().max().max() <= 1


def test_a_reward_is_that_of_the_verifiers(fitted):
    name = fitted.varm["perturbation_effect"].columns[0]
    spr.tl.screen(fitted, "singles", reward=name, n_refine=0)
    table = spr.get.screen(fitted)
    assert table.loc[name, "value"] > table["value"].median()
    assert table["value"].between(-1, 1).all()


def test_contexts_and_doses(context):
    spr.tl.screen(context, "singles", objective="size", n_refine=0)
    table = spr.get.screen(context)
    assert set(table["group"]) == {"T", "B"}
    assert (table["dose"] == 10).all()
    spr.tl.screen(context, "singles", objective="size", covariates={"cell_type": "B"}, dose=3.0, n_refine=0)
    table = spr.get.screen(context)
    assert set(table["group"]) == {"B"}
    assert set(table["dose"]) == {3.0}
    assert "dose" in set(table["kind"])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, "Give an objective"),
        ({"objective": "JAK"}, KeyError, "not a pathway, transcription factor or other objective"),
        ({"objective": {"towards": 1}}, ValueError, "argument `towards` is not given"),
        ({"objective": "size", "level": 1.5}, ValueError, "`level`"),
        ({"towards": "perturbation === 3"}, ValueError, "not a valid query of `obs`"),
        ({"towards": "perturbation == 'nothing'"}, ValueError, "selects 0 cells"),
        ({"like": "nothing"}, KeyError, "not a condition with training cells"),
        ({"like": "control"}, KeyError, "not a condition with training cells"),
        (
            {"objective": "size", "candidates": "A+B"},
            ValueError,
            r"'candidates'|a list of labels, such as `\['A\+B'\]`",
        ),
        ({"signature": {"high": ["GENE001"]}}, ValueError, r"holds \['high'\]"),
        ({"signature": {"up": ["nothing"]}}, ValueError, "None of the genes"),
        ({"objective": "size", "candidates": "triples"}, ValueError, "'singles', 'pairs'"),
        ({"objective": "size", "candidates": []}, ValueError, "no candidates"),
        ({"objective": "size", "candidates": pd.DataFrame({"gene": ["A"]})}, KeyError, "no column 'perturbation'"),
        ({"objective": "size", "dose": 1.0}, ValueError, "no dose was declared"),
        ({"objective": {"size": 0}}, ValueError, "gives 'size' the weight 0; it must be finite"),
        ({"objective": {"size": np.nan}}, ValueError, "gives 'size' the weight nan"),
        (
            {"objective": lambda cells: np.full(len(cells), np.nan)},
            ValueError,
            "gave nan for a cell; one finite number",
        ),
        (
            {"objective": "size", "candidates": pd.DataFrame({"perturbation": ["A", None]})},
            ValueError,
            "column 'perturbation' of the candidates has 1 missing",
        ),
    ],
)
def test_errors_say_what_to_do(pairs, options, error, words):
    with pytest.raises(error, match=words):
        spr.tl.screen(pairs, **options)
    assert "screen" not in pairs.uns


@pytest.mark.parametrize("argument", ["like", "reward"])
def test_the_parts_of_a_named_combination_have_any_order(pairs, argument):
    spr.pp.reference(pairs)
    name = next(name for name in pairs.varm["perturbation_effect"].columns if "+" in name)
    values = []
    for given in (name, "+".join(name.split("+")[::-1])):
        spr.tl.screen(pairs, "singles", **{argument: given}, n_refine=0)
        values.append(pairs.uns["screen"]["table"]["value"])
    pd.testing.assert_series_equal(*values)


def test_a_held_out_condition_is_no_objective(pairs):
    held_out = str(pairs.obs.loc[pairs.obs["split"] == "test", "perturbation"].iloc[0])
    with pytest.raises(KeyError, match="not a condition with training cells. It has none, because it is held out"):
        spr.tl.screen(pairs, like=held_out)


def test_another_data_set_needs_the_genes(pairs):
    with pytest.raises(ValueError, match="at least half are needed"):
        spr.tl.screen(pairs, "singles", towards=pairs[:, :10].copy())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cells: cells / np.log(2), "base 2"),
        (np.log1p, "taken twice"),
        (lambda cells: np.log1p(100 * np.expm1(cells)), "times the total"),
    ],
)
@pytest.mark.parametrize("n_genes", [120, 100])
def test_a_population_on_another_scale_is_refused(pairs, change, words, n_genes):
    other = pairs[pairs.obs["perturbation"] == trained(pairs)[0], :n_genes].copy()
    other.X = change(other.X.toarray())
    with pytest.raises(ValueError, match=f"`towards.X`.*{words}"):
        spr.tl.screen(pairs, "singles", towards=other)


def test_genes_of_a_signature_that_were_not_measured_are_told(pairs):
    gene, second = pairs.var_names[:2]
    with pytest.warns(UserWarning, match=r"1 of 2 genes of `signature` are not in `var_names` \('nothing'\)"):
        spr.tl.screen(pairs, "singles", signature={"up": [gene, "nothing"]})
    told = spr.get.screen(pairs)["value"]
    # one gene needs no list
    spr.tl.screen(pairs, "singles", signature={"up": gene})
    assert spr.get.screen(pairs)["value"].equals(told)
    with pytest.raises(ValueError, match="in 'up' and in 'down'"):
        spr.tl.screen(pairs, "singles", signature={"up": [gene, second], "down": [gene]})


@pytest.mark.parametrize("dose", [0.0, np.nan, -1.0, "much"])
def test_a_table_of_candidates_needs_doses_above_0(context, dose):
    name = trained(context)[0]
    table = pd.DataFrame({"perturbation": [name, name], "dose": [10.0, dose]})
    with pytest.raises(ValueError, match="column 'dose' of the candidates holds"):
        spr.tl.screen(context, table, objective="size", n_refine=0)
