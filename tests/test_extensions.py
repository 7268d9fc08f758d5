"""One verifier, update rule, metric, baseline and plot, each added from outside the package."""

from __future__ import annotations

from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import scperturbrl as spr
from scperturbrl.metrics.baselines import registry as baselines
from scperturbrl.metrics.baselines.registry import Baseline
from scperturbrl.metrics.registry import register as register_metric
from scperturbrl.pl.registry import Plot
from scperturbrl.pl.registry import register as register_plot
from scperturbrl.rl.rules.base import Rule
from scperturbrl.rl.rules.nft import Nft
from scperturbrl.rl.rules.registry import UPDATE_RULES
from scperturbrl.rl.rules.registry import register as register_rule

pytestmark = pytest.mark.usefixtures("no_traces")


# a verifier that prepares something of every scope, and one thing from another
def _loudest(cells):
    return np.argsort(-cells.control_variance(), axis=1)[:, :5]


def _bank_mean(cells):
    means = [
        cells.stand_ins(i) if cells.is_pseudo[i] else cells.expression(cells.rows(i)) for i in range(len(cells.group))
    ]
    return np.stack([block.mean(0) for block in means])


LOUDEST = spr.verifiers.Prepared("loudest", _loudest, scope="condition")
BANK_MEAN = spr.verifiers.Prepared("bank_mean", _bank_mean)
AVERAGE = spr.verifiers.Prepared("average", lambda cells: cells[BANK_MEAN].mean(0), scope="all")


def _closeness(cells, reference):
    assert reference.average.shape == cells.shape[-1:]
    genes = reference.loudest.unsqueeze(1).expand(-1, cells.shape[1], -1)
    target = reference.bank_mean.gather(1, reference.loudest).unsqueeze(1)
    return -(cells.gather(2, genes) - target).square().mean(-1)


CLOSENESS = spr.verifiers.Verifier(
    name="closeness",
    score=_closeness,
    label="Closeness",
    description="Minus the mean squared difference to the mean real cell at five genes.",
    range=(-float("inf"), 0.0),
    prepares=(LOUDEST, BANK_MEAN, AVERAGE),
)


@dataclass(frozen=True)
class Halved:
    anchor: float

    def __call__(self, fields, batch, rng):
        return Nft(self.anchor)(fields, replace(batch, advantage=batch.advantage / 2), rng)


def test_a_verifier(toy):
    spr.verifiers.register(CLOSENESS)
    assert "closeness" in spr.verifiers.names()
    shown = spr.verifiers.show().set_index("name")
    assert shown.loc["closeness", "needs"] == ("loudest", "bank_mean", "average")
    spr.tl.score(toy, verifiers=["rmse_topk", "closeness"], percentile=True)
    assert toy.obsm["score_observed"]["closeness"].notna().any()
    assert toy.obs["observed_percentile"].notna().any()


def test_what_it_prepares_is_cross_fitted_and_made_for_pseudo_references(toy):
    spr.verifiers.register(CLOSENESS)
    spr.tl.fit_generator(toy, n_steps=5, width=16, n_latent=4)
    spr.tl.rl_finetune(toy, verifiers=["closeness"], n_iterations=1, n_conditions=2)
    assert list(toy.uns["generator_rl"]["params"]["verifiers"]) == ["closeness"]
    spr.tl.score(toy, verifiers=["closeness"], pseudo_references="additive")
    own = toy.obs["perturbation"].isin(toy.uns["score_observed"]["pseudo_references"].index)
    assert toy.obsm["score_observed"].loc[own, "closeness"].notna().all()
    assert own.any()


def test_one_that_prepares_too_few_rows_is_told_which(toy):
    short = spr.verifiers.Prepared("short", lambda cells: cells.effect[:1])
    broken = replace(CLOSENESS, name="broken", prepares=(short,), score=lambda cells, reference: reference.short)
    with pytest.raises(ValueError, match="`short`, which a verifier prepares, has shape"):
        spr.tl.score(toy, verifiers=[broken])


def test_two_meanings_of_a_name_are_refused(toy):
    other = spr.verifiers.Prepared("loudest", lambda cells: cells.effect)
    twin = replace(CLOSENESS, name="twin", prepares=(other,))
    with pytest.raises(ValueError, match="prepare 'loudest' in different ways"):
        spr.tl.score(toy, verifiers=[CLOSENESS, twin])


@pytest.mark.parametrize("change", [{"needs": ("rivals",)}, {"prepares": (replace(LOUDEST, name="effect"),)}])
def test_names_that_cannot_be_meant_are_refused(change):
    with pytest.raises(ValueError, match="reference"):
        replace(CLOSENESS, **change)


def test_an_update_rule(toy):
    rule = Rule("halved", lambda anchor, beta: Halved(anchor))
    register_rule(rule)
    assert "halved" in UPDATE_RULES
    spr.tl.fit_generator(toy, n_steps=5, width=16, n_latent=4)
    spr.tl.rl_finetune(toy, update_rule="halved", n_iterations=1, n_conditions=2, guard=False)
    assert toy.uns["generator_rl"]["params"]["update_rule"] == "halved"
    with pytest.raises(ValueError, match="exists"):
        register_rule(rule)


def test_a_metric_and_a_baseline(toy):
    largest = spr.metrics.Metric(
        "largest_error",
        "Largest error",
        best_value=0.0,
        higher_is_better=False,
        description="Largest absolute difference of the mean profiles.",
        source="here",
        compute=lambda pair: float(np.abs(pair.predicted_effect - pair.observed_effect).max()),
    )
    register_metric(largest)
    double = Baseline("double_mean", lambda known, wanted: 2 * known.effects.mean(0))
    baselines.register(double)
    table = spr.tl.evaluate(toy, keys=[], n_cells=20, max_cells=40)
    values = table[table["metric"] == "largest_error"].set_index(["model", "condition"])["value"]
    assert (values > 0).all()
    mean, twice = (values[name] for name in ("perturbed_mean", "double_mean"))
    assert set(mean.index) == set(twice.index)
    assert not np.allclose(mean, twice)
    assert set(table.loc[table["model"] == "double_mean", "kind"]) == {"baseline"}
    assert "Largest error" in {spr.metrics.METRICS[name].label for name in spr.metrics.METRICS}
    for again in (lambda: register_metric(largest), lambda: baselines.register(double)):
        with pytest.raises(ValueError, match="exists"):
            again()
    with pytest.raises(ValueError, match="`compute`"):
        register_metric(replace(largest, name="nothing", compute=None))


def test_a_plot(finished, tmp_path):
    def library_sizes(adata, *, key=None, show=None, return_fig=False):
        figure, ax = plt.subplots()
        ax.hist(np.asarray(adata.X.sum(1)).ravel())
        return figure if return_fig else ax

    plot = Plot("library_sizes", library_sizes, "Library sizes of all cells", "Sums of the log-normalised values.")
    register_plot(plot)
    assert spr.pl.library_sizes(finished).patches
    page = spr.pl.report(finished, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Library sizes of all cells" in page
    with pytest.raises(ValueError, match="exists"):
        register_plot(replace(plot, name="effects"))


def test_scores_of_what_was_added_are_those_of_the_formula(toy):
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.reference.stored import read_reference

    cells = Cells.of(toy)
    table, reference = read_reference(toy, cells, [CLOSENESS])
    block = torch.as_tensor(cells.block(np.arange(6)))[None].expand(len(reference), -1, -1)
    found = CLOSENESS(block, reference).numpy()
    for c, name in enumerate(table.conditions):
        rows = cells.table.index.get_loc(name)
        control = cells.block(np.flatnonzero((cells.codes == cells.control_row(rows)) & cells.is_training()))
        real = cells.block(np.flatnonzero((cells.codes == rows) & cells.is_training())).mean(0)
        genes = np.argsort(-control.var(0, ddof=1))[:5]
        expected = -np.square(block[c].numpy()[:, genes] - real[genes]).mean(1)
        np.testing.assert_allclose(found[c], expected, rtol=1e-4, atol=1e-5)
