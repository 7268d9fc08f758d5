"""HTML report: verdict, tables, plots, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scperturbrl import __version__
from scperturbrl._core import keys
from scperturbrl._core.docs import documented
from scperturbrl._core.modality import pick
from scperturbrl.get._evaluation import evaluation as evaluation_frame
from scperturbrl.get._gap_closed import gap_closed
from scperturbrl.get._metric_calibration import metric_calibration
from scperturbrl.get._read.labels import metric_label, model_label
from scperturbrl.get._read.slots import chosen, missing
from scperturbrl.get._verifier_scores import verifier_scores as score_frame
from scperturbrl.metrics.registry import METRICS
from scperturbrl.pl._effects import effects
from scperturbrl.pl._embedding import embedding
from scperturbrl.pl._evaluation import evaluation
from scperturbrl.pl._page import html
from scperturbrl.pl._page.words import Findings
from scperturbrl.pl._training_history import training_history
from scperturbrl.pl._verifier_scores import verifier_scores
from scperturbrl.pl.registry import ADDED

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

# one metric of each kind, so that the first table fits on a screen
_SHORT = (
    *("pearson_delta_systema", "discrimination", "direction_fidelity", "lfc_nmae", "normalised_mse"),
    *("energy_distance", "covariance_correlation", "variance_ratio"),
)
_CONDITIONS, _ROWS = 4, 12
_NOT_ABLE = " *"
_TOLD = "Told apart"


@documented
def report(
    adata: AnnData | MuData,
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    title: str = "Predicted perturbation responses",
    modality: str | None = None,
) -> Path:
    """Write an HTML report with a verdict in words, tables, plots and settings.

    The file is self-contained: it needs no other file and no internet.

    Parameters
    ----------
    adata
        Annotated data after :func:`~scperturbrl.tl.evaluate`. Plots whose data are missing (cells of
        :func:`~scperturbrl.tl.generate`, scores of :func:`~scperturbrl.tl.score`) are left out, and the report lists
        them.
    path
        File to write; replaced if it exists. Its folder is created if necessary.
    model
        The model that the verdict compares with the others; by default the post-trained generator, else the first
        generator, else the first prediction.
    title
        Heading.
    {modality}

    Returns
    -------
    The path.

    Raises
    ------
    KeyError
        If nothing was evaluated.
    ValueError
        If `model` is not in the evaluation, or `path` is a folder.

    Examples
    --------
    >>> import tempfile, warnings
    >>> import scperturbrl as spr
    >>> adata = spr.datasets.toy()
    >>> spr.pp.setup_anndata(adata)
    >>> spr.pp.split(adata)
    >>> spr.pp.reference(adata)
    >>> spr.tl.fit_generator(adata, n_steps=20, width=32, n_latent=8)
    >>> table = spr.tl.evaluate(adata, n_cells=50)
    >>> page = spr.pl.report(adata, tempfile.mkdtemp() + "/report.html")
    >>> page.read_text(encoding="utf-8")[:15]
    '<!doctype html>'
    """
    adata = pick(adata, modality)
    if keys.EVALUATION not in adata.uns:
        raise KeyError(missing("uns", keys.EVALUATION, "tl.evaluate(adata)", {}))
    target = html.file_of(path)
    findings = Findings(adata, _model(adata, model))
    generators = [name for name in findings.table["model"].unique() if name in adata.uns]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        html.paragraph(_subtitle(adata), role="quiet"),
        html.paragraph(findings.headline(), role="verdict"),
        html.items(findings.sentences()),
        html.section("Models side by side", *_models(findings)),
        *_post_training(findings),
        html.section("Pictures", *_pictures(adata, findings, generators)),
        html.section("Condition by condition", *_conditions(findings)),
        html.section("Every metric, and whether it can be trusted here", *_metrics(findings)),
        html.section("Settings", *_settings(adata, generators)),
    ]
    return html.write(target, title, parts)


def _model(adata: AnnData, model: str | None) -> str:
    table = adata.uns[keys.EVALUATION].astype({"model": str, "kind": str})
    known = table["model"].unique().tolist()
    if model is not None:
        return chosen("model", model, known)[0]
    asked = table.loc[table["kind"].isin(["generator", "prediction"]), ["model", "kind"]].drop_duplicates()
    tuned = [one for one in asked["model"] if _params(adata, one).get("method") == "rl_finetune"]
    first = asked.sort_values("kind", kind="stable")["model"].tolist()
    return [*tuned, *first, *known][0]


def _params(adata: AnnData, key: str) -> dict[str, Any]:
    found = adata.uns.get(key)
    return dict(found["params"]) if isinstance(found, dict) and "params" in found else {}


def _subtitle(adata: AnnData) -> str:
    return f"{adata.n_obs:,} cells, {adata.n_vars:,} genes. Written by scperturbrl {__version__}."


def _short(findings: Findings) -> list[str]:
    """One metric of each kind, if it was evaluated; otherwise the first metrics."""
    known = findings.summary["metric"].drop_duplicates().tolist()
    return [name for name in _SHORT if name in known] or [name for name in known if name in METRICS][: len(_SHORT)]


def _models(findings: Findings) -> list[str]:
    present = _short(findings)
    values = evaluation_frame(findings.adata, metrics=present, wide="median")
    values.index = pd.Index([model_label(name) for name in values.index], name="Model")
    mark = lambda name: "" if name in findings.able else _NOT_ABLE
    best = {
        name: {True: "higher", False: "lower", None: f"near {METRICS[name].best_value:g}"}[
            METRICS[name].higher_is_better
        ]
        for name in present
    }
    if (shares := findings.told_apart) is not None:
        values.loc[_TOLD] = shares.reindex(present).to_numpy()
    values.columns = [f"{metric_label(name)} ({best[name]}){mark(name)}" for name in present]
    note = (
        "Medians over held-out conditions; brackets say which direction is better. Told apart: share of the conditions in "
        "which the metric prefers a replicate to the mean response. * tells them apart in fewer than three of four, so it "
        "gets no verdict."
    )
    return [html.table(values, own=[model_label(findings.model)], told=_TOLD), html.paragraph(note, role="quiet")]


def _post_training(findings: Findings) -> list[str]:
    """What post-training did by its own account, and what held-out conditions say; nothing for a model of another kind."""
    record = findings.adata.uns.get(findings.model)
    if _params(findings.adata, findings.model).get("method") != "rl_finetune" or not findings.parents:
        return []
    found = gap_closed(findings.adata, findings.model, reference=findings.parents[-1])
    interval = [
        f"{low:.2f} to {high:.2f}" if low == low else "-" for low, high in zip(found["low"], found["high"], strict=True)
    ]
    columns = {
        "What": found["kind"].map({"gap closed": "share of the gap closed", "ratio": "ratio of distances"}).to_numpy(),
        "Value": found["value"].to_numpy(),
        "95 % interval": interval,
        "Conditions harmed": [f"{100 * share:.0f} %" if share == share else "-" for share in found["harm_rate"]],
    }
    if (shares := findings.told_apart) is not None:
        columns[_TOLD] = shares.reindex(found["metric"]).to_numpy()
    values = pd.DataFrame(columns, index=pd.Index([metric_label(name) for name in found["metric"]], name="Metric"))
    note = (
        f"Against {model_label(findings.parents[-1]).lower()}, on held-out conditions. Share of the gap closed: 0 is no change, 1 the score of "
        "real cells; - where there was no gap. Ratio of distances: below 1 is better. Harmed: above real cells by more than 0.01, or a "
        "distance that rises by more than 3 %. Scores were rewarded, so the ratios must be read with them."
    )
    said = html.paragraph(str(record["fitted"]["outcome"]))
    return [html.section("Whether post-training helped", said, html.table(values), html.paragraph(note, role="quiet"))]


def _metrics(findings: Findings) -> list[str]:
    models = dict.fromkeys([findings.model, *findings.parents, findings.best_baseline, "split_half"])
    shown = [name for name in models if name in set(findings.table["model"])]
    values = evaluation_frame(findings.adata, models=shown, wide="median").T
    values.columns = [model_label(name) for name in shown]
    if "calibrated" in findings.summary:
        trust = metric_calibration(findings.adata).set_index("metric").loc[values.index]
        columns = {
            "role": "Role",
            "calibrated": "Calibrated",
            "told_apart": "Told apart",
            "dynamic_range": "Dynamic range",
        }
        values = trust.rename(columns=columns).join(values)
    values.index = pd.Index([metric_label(str(name)) for name in values.index], name="Metric")
    note = (
        "Told apart: share of the conditions in which one half of the real cells predicts the other half better than "
        "the mean response does. Dynamic range: position of that half between the mean response (0) and a perfect "
        "prediction (1). A metric is calibrated if the half is better in at least three of four conditions. A metric "
        "that was rewarded, or is related to a reward, is no evidence."
    )
    return [html.paragraph(note, role="quiet"), html.details(f"All {len(values)} metrics", html.table(values))]


def _conditions(findings: Findings) -> list[str]:
    table = findings.table
    shown = [name for name in dict.fromkeys([findings.model, *findings.parents, findings.best_baseline]) if name]
    number = table.drop_duplicates("condition").set_index("condition")["n_observed"]
    parts = {"Cells": number} if len(number) else {}
    for metric in ("energy_distance", "normalised_mse"):
        wide = table[table["metric"] == metric].pivot_table(
            index="condition", columns="model", values="value", dropna=False
        )
        for name in shown:
            if name in wide:
                mark = "" if metric in findings.able else _NOT_ABLE
                parts[f"{metric_label(metric)}{mark}, {model_label(name).lower()}"] = wide[name]
    frame = pd.DataFrame(parts).reindex(findings.conditions)
    frame.index.name = "Condition"
    note = (
        "Lower is better. - : the effect is not larger than the sampling noise. "
        "* cannot tell a replicate from the mean response here."
    )
    body = [html.paragraph(note, role="quiet"), html.table(frame)]
    return body if len(frame) <= 12 else [html.details(f"All {len(frame)} conditions", *body)]


def _pictures(adata: AnnData, findings: Findings, generators: list[str]) -> list[str]:
    model = findings.model
    present = _short(findings)
    wanted: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
        "Where every model stands": (
            evaluation,
            {"metrics": present},
            "0 is as good as the mean response of training, 1 as good as predicting one half of the real cells by the "
            "other.",
        ),
        "Effects of held-out conditions": (
            effects,
            {"key": model, "conditions": findings.conditions[:_CONDITIONS]},
            "Observed and predicted change of the genes that respond most.",
        ),
        "Generated and real cells": (embedding, {"key": model}, "Principal components of the real cells."),
        "Scores of the verifiers": (
            verifier_scores,
            {"key": model, "perturbations": _scored(adata, model)},
            "Generated and real cells. Only training conditions have a reference.",
        ),
    }
    for name in generators:
        watched = "Optimised and monitored quantities."
        wanted[f"Training of {name}"] = (training_history, {"key": name}, watched)
    for plot in ADDED.values():
        wanted[plot.title] = (plot.draw, {"key": model}, plot.caption)
    found, left_out = [], []
    for title, (draw, arguments, caption) in wanted.items():
        try:
            figure = draw(adata, **arguments, return_fig=True)
        except (KeyError, ValueError) as error:
            left_out.append(f"{title}: {error.args[0] if error.args else error}")
        else:
            found.append(html.picture(figure, alt=title, caption=f"{title}. {caption}"))
    if left_out:
        found.append(html.details("Plots that were left out, and why", html.items(left_out)))
    return found


def _scored(adata: AnnData, model: str) -> list[str] | None:
    """Up to twelve perturbations with scores; None if there are no scores, which the plot itself reports."""
    if keys.score(model) not in adata.obsm or keys.score(keys.OBSERVED) not in adata.obsm:
        return None
    found = score_frame(adata, key=model).dropna(subset="score")["group"].astype(str).unique().tolist()
    return found[:: max(1, -(-len(found) // _ROWS))] or None


def _settings(adata: AnnData, generators: list[str]) -> list[str]:
    record = adata.uns.get(keys.SETUP, {})
    setup, split = record.get("setup", {}), record.get(keys.SPLIT, {})
    table = adata.uns[keys.EVALUATION]
    run = {name: table[name].iloc[0] for name in ("seed", "engine", "version") if name in table}
    parts = [html.details("Data", html.settings(setup)), html.details("Split", html.settings(split))]
    parts += [html.details(model_label(name), html.settings(_params(adata, name))) for name in generators]
    return [*parts, html.details("Evaluation", html.settings(run))]
