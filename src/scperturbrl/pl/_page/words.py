"""Findings of an evaluation, in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scperturbrl._core import keys
from scperturbrl.data.evaluation.roles import HELD_OUT
from scperturbrl.get._differences import differences
from scperturbrl.get._evaluation import evaluation
from scperturbrl.get._gap_closed import gap_closed
from scperturbrl.get._harm import harm
from scperturbrl.get._read.labels import metric_label, model_label
from scperturbrl.metrics.registry import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData

_NAMED = 6
# with fewer conditions, a bootstrap interval is too narrow
_FEW = 6
_SUBJECTS = {keys.GENERATOR: "The generator", keys.GENERATOR_RL: "The post-trained generator"}
# baselines are shifted control cells, so metrics of single cells do not compare them fairly with models
OF_CELLS = {
    *("energy_distance", "mmd", "classifier_auroc", "neighbour_precision", "neighbour_recall", "neighbour_coverage"),
    *(
        "variance_ratio",
        "zero_fraction_error",
        "covariance_correlation",
        "eigenvalue_ratio",
        "module_correlation_error",
    ),
}


@dataclass(frozen=True)
class Findings:
    """An evaluation and the model in question.

    Attributes
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`.
    model
        The model to describe.
    """

    adata: AnnData
    model: str

    @cached_property
    def table(self) -> pd.DataFrame:
        """The tidy table."""
        labels = dict.fromkeys(("model", "kind", "condition", "metric", "role"), str)
        return self.adata.uns[keys.EVALUATION].astype(labels)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row for each model and metric."""
        return evaluation(self.adata)

    @cached_property
    def conditions(self) -> list[str]:
        """Conditions of the evaluation."""
        return self.table["condition"].unique().tolist()

    @cached_property
    def judges(self) -> list[str]:
        """Metrics that count in a verdict: not rewarded, not related to a reward, and calibrated."""
        first = self.summary.drop_duplicates("metric")
        return first.loc[first["metric"].isin(self.able) & (first["role"] == HELD_OUT), "metric"].tolist()

    @cached_property
    def able(self) -> set[str]:
        """Calibrated metrics; all of them if the evaluation did not calibrate."""
        first = self.summary.drop_duplicates("metric")
        return set(first.loc[first["calibrated"], "metric"] if "calibrated" in first else first["metric"])

    @cached_property
    def told_apart(self) -> pd.Series | None:
        """Share of the conditions in which a metric tells a replicate from the mean response, by metric."""
        if "told_apart" not in self.table:
            return None
        return self.table.drop_duplicates("metric").set_index("metric")["told_apart"]

    @cached_property
    def effect_judges(self) -> list[str]:
        """Those of the judges that compare mean effects, for which baselines are a fair comparison."""
        return [name for name in self.judges if name not in OF_CELLS]

    @cached_property
    def parents(self) -> list[str]:
        """The parent of the model, and the parent with extra training."""
        known = set(self.table["model"])
        return [name for name in (self._parent(self.model), f"{keys.GENERATOR}_longer") if name in known - {self.model}]

    def _parent(self, model: str) -> str:
        return str(self._params(model).get("parent", ""))

    def _params(self, model: str) -> dict[str, Any]:
        return self._of(model, "params")

    def _fitted(self, model: str) -> dict[str, Any]:
        return self._of(model, "fitted")

    def _of(self, model: str, slot: str) -> dict[str, Any]:
        found = self.adata.uns.get(model)
        return dict(found[slot]) if isinstance(found, dict) and slot in found else {}

    def _others(self) -> list[str]:
        """The parents that differ from the model."""
        return [name for name in self.parents if not (self.unchanged and name == self._parent(self.model))]

    @cached_property
    def best_baseline(self) -> str:
        """The baseline with the best median score in these metrics, chosen with the evaluated conditions."""
        rows = self.summary[(self.summary["kind"] == "baseline") & self.summary["metric"].isin(self.effect_judges)]
        scaled = rows.groupby("model", sort=False)["scaled_median"].median().dropna()
        return str(scaled.idxmax()) if len(scaled) else ""

    @cached_property
    def place(self) -> float:
        """Median scaled score of the model over the metrics of the verdict; 0 is the mean response, 1 a replicate."""
        rows = self.summary[(self.summary["model"] == self.model) & self.summary["metric"].isin(self.judges)]
        return float(rows["scaled_median"].median())

    def compared(self, reference: str, metrics: list[str]) -> pd.DataFrame:
        """Differences to `reference` in these metrics."""
        return differences(self.table, self.model, reference=reference, metrics=metrics)

    def headline(self) -> str:
        """One sentence: whether the model beats the best simple baseline."""
        if len(self.conditions) < 2:
            return "One held-out condition is too few for a verdict: read the numbers as one example."
        if not self.effect_judges or not self.best_baseline:
            return "No verdict: on these data no unrewarded metric can discriminate a replicate from the mean response."
        counts = self.compared(self.best_baseline, self.effect_judges)["verdict"].value_counts()
        better, worse = int(counts.get("better", 0)), int(counts.get("worse", 0))
        word = "beats" if better > worse else "is worse than" if worse > better else "is no better than"
        few = f", over only {len(self.conditions)} conditions" if len(self.conditions) < _FEW else ""
        return (
            f"{self._subject()} {word} the best simple baseline ({_plain(self.best_baseline)}) "
            f"in the effects of held-out conditions: better in {better}, worse in {worse} of {len(self.effect_judges)} "
            f"metrics that count in the verdict{few}."
        )

    def _subject(self) -> str:
        if self.unchanged:
            return "The generator, which post-training left unchanged,"
        return _SUBJECTS.get(self.model, repr(self.model))

    @cached_property
    def unchanged(self) -> bool:
        """Whether post-training kept the generator from which it started."""
        kept = self._fitted(self.model).get("kept_iteration")
        return kept is not None and int(kept) == 0

    def sentences(self) -> Iterator[str]:
        """Further findings, one sentence each."""
        yield self._asked()
        if self.unchanged:
            yield "Post-training changed nothing; the section on post-training says why."
        yield self._judged_by()
        if self.judges and len(self.conditions) > 1:
            for reference in self._others():
                yield self._against(reference, self.judges)
            if self.best_baseline:
                yield self._against(self.best_baseline, self.effect_judges) + (
                    " Metrics of single cells are left out here, because baselines are shifted control cells."
                )
        if self.judges and self.place == self.place:
            yield (
                f"Over these metrics, its median score is at {100 * self.place:.0f} % between the mean response of training "
                "(0 %) and one half of the real cells as a prediction of the other (100 %)."
            )
        if 1 < len(self.conditions) < _FEW:
            yield (
                f"With {len(self.conditions)} conditions, a difference is called clear if all of them agree, "
                "which is weak evidence."
            )
        yield from self._harm()
        yield from self._gap()
        yield from self._guard()

    def _asked(self) -> str:
        names = ", ".join(self.conditions[:_NAMED])
        more = f" and {len(self.conditions) - _NAMED} more" if len(self.conditions) > _NAMED else ""
        return f"Evaluated on {_count(len(self.conditions), 'held-out condition')}: {names}{more}."

    def _judged_by(self) -> str:
        first = self.summary.drop_duplicates("metric")
        return (
            f"Of {len(first)} metrics {len(self.able)} can discriminate a replicate experiment from the mean response on these "
            f"data; {len(self.judges)} of those were not rewarded, and only they count in the verdict."
        )

    def _against(self, reference: str, metrics: list[str]) -> str:
        found = self.compared(reference, metrics)
        parts = []
        for verdict in ("better", "worse"):
            names = [metric_label(name) for name in found.loc[found["verdict"] == verdict, "metric"]]
            parts.append(f"{verdict} in {len(names)}" + (f" ({'; '.join(names[:_NAMED])})" if names else ""))
        ties = int((found["verdict"] == "tie").sum())
        return f"Against {self._named(reference)}: {', '.join(parts)}, no clear difference in {ties}."

    def _named(self, reference: str) -> str:
        if reference == self._parent(self.model):
            return "the generator from which it was trained"
        return (
            f"the best baseline ({_plain(reference)})"
            if reference == self.best_baseline
            else "the same generator with extra training"
        )

    def _harm(self) -> Iterator[str]:
        for reference in self._others()[:1]:
            distances = [name for name in ("energy_distance", "mse") if name in set(self.table["metric"])]
            for row in harm(self.adata, self.model, reference=reference, metrics=distances).to_dict("records"):
                worst = f", most in {row['worst_condition']} (+{100 * row['worst_rise']:.0f} %)"
                yield (
                    f"{METRICS[row['metric']].label} rises by more than 3 % against {self._named(reference)} in "
                    f"{row['n_harmed']} of {_count(row['n_conditions'], 'condition')}{worst if row['n_harmed'] else ''}."
                )

    def _gap(self) -> Iterator[str]:
        """Share of the gap to real cells that post-training closed, against extra training if there is any."""
        for reference in self.parents[-1:]:
            found = gap_closed(self.adata, self.model, reference=reference)
            scores = found[(found["kind"] == "gap closed") & found["value"].notna()]
            label = lambda metric: metric_label(metric).removeprefix("Verifier: ")
            named = [f"{label(row.metric)} {100 * row.value:.0f} %" for row in scores.itertuples()]
            if named:
                yield f"Of the gap between {self._named(reference)} and real cells, it closes: {', '.join(named)}."

    def _guard(self) -> Iterator[str]:
        fitted, asked = self._fitted(self.model), self._params(self.model).get("n_iterations")
        if "kept_iteration" in fitted and asked is not None and 0 < int(fitted["kept_iteration"]) < int(asked):
            yield f"The guard of post-training kept iteration {int(fitted['kept_iteration'])} of {asked} ({fitted['stopped']})."


def _plain(model: str) -> str:
    """Name of a model within a sentence, without the remark on the scale in its label."""
    return model_label(model).split(" (")[0].lower()


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
