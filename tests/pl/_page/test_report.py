from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import scperturbrl as spr
from scperturbrl.get._read import labels
from scperturbrl.pl._page import html
from scperturbrl.pl._page.words import Findings

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Complains of tags that are not closed, and keeps what a reader sees."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.images = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.images += [dict(attrs)] if tag == "img" else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert spr.pl.report(finished.copy(), path, title="A <screen> & more") == path
    return path


def evaluated(values, *, calibrated=True, roles="held-out", kinds=None):
    """An AnnData whose evaluation holds `values`: model to metric to one value a condition."""
    adata = spr.datasets.toy()
    kinds = {"additive": "baseline", "perturbed_mean": "baseline", "split_half": "ceiling"} | (kinds or {})
    rows = [
        {"model": model, "kind": kinds.get(model, "generator"), "metric": metric, "condition": f"C{i}", "value": value}
        for model, metrics in values.items()
        for metric, column in metrics.items()
        for i, value in enumerate(column)
    ]
    table = pd.DataFrame(rows).assign(role=roles, n_observed=50, n_cells=50, covariates="", seed=0)
    table["scaled"] = -table["value"]
    adata.uns["evaluation"] = table.assign(calibrated=calibrated, told_apart=1.0, dynamic_range=0.5)
    return adata


def test_the_page_is_one_well_formed_file(page):
    reader = read(page)
    assert "A <screen> & more" in reader.text
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import', page.read_text(encoding="utf-8"))


def test_pictures_are_within_and_say_what_they_show(page):
    images = read(page).images
    assert len(images) >= 5
    for image in images:
        assert image["alt"]
        data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        assert pixels.min() < 100 < 250 < pixels.max()


def test_every_model_and_metric_is_in_a_table(page, finished):
    text = set(read(page).text)
    table = finished.uns["evaluation"]
    for name in table["model"].astype(str).unique():
        assert labels.model_label(name) in text
    for name in spr.get.metric_calibration(finished)["metric"]:
        assert labels.metric_label(name) in text
    assert "not calibrated" not in text


def test_numbers_of_the_page_are_those_of_the_table(page, finished):
    text = page.read_text(encoding="utf-8")
    median = spr.get.evaluation(finished, metrics="energy_distance", wide="median").loc["generator_rl"].iloc[0]
    row = text.split("<tr class=own>")[1].split("</tr>")[0]
    assert f"<td>{html.number(median)}</td>" in row


def test_settings_are_there(page):
    text = " ".join(read(page).text)
    assert "perturbation_key" in text
    assert "n_iterations" in text


def test_the_verdict_follows_the_numbers():
    good, bad = {"mse": [0.1, 0.2, 0.1]}, {"mse": [0.9, 0.8, 0.7]}
    won = Findings(evaluated({"generator_rl": good, "additive": bad}), "generator_rl")
    assert won.headline().startswith("The post-trained generator beats the best simple baseline (additive)")
    lost = Findings(evaluated({"generator_rl": bad, "additive": good}), "generator_rl")
    assert "is worse than" in lost.headline()
    assert any("worse in 1 (MSE)" in sentence for sentence in lost.sentences())
    assert any("3 conditions" in sentence and "weak evidence" in sentence for sentence in lost.sentences())
    tied = Findings(evaluated({"mine": {"mse": [0.1, 0.9]}, "additive": {"mse": [0.9, 0.1]}}), "mine")
    assert "'mine' is no better than" in tied.headline()


def test_post_training_that_changed_nothing_is_not_called_a_gain():
    adata = evaluated(
        {"generator_rl": {"mse": [0.1, 0.2]}, "generator": {"mse": [0.1, 0.2]}, "additive": {"mse": [0.9, 0.8]}}
    )
    adata.uns["generator_rl"] = {
        "params": {"parent": "generator", "n_iterations": 15},
        "fitted": {"kept_iteration": 0, "stopped": "end"},
    }
    findings = Findings(adata, "generator_rl")
    assert findings.headline().startswith("The generator, which post-training left unchanged, beats")
    assert findings.headline().endswith("count in the verdict, over only 2 conditions.")
    said = " ".join(findings.sentences())
    assert "Post-training changed nothing" in said
    assert "Against the generator from which it was trained" not in said
    adata.uns["generator_rl"]["fitted"]["kept_iteration"] = 5
    said = " ".join(Findings(adata, "generator_rl").sentences())
    assert "kept iteration 5 of 15" in said
    assert "Against the generator from which it was trained" in said


def test_tables_say_which_metrics_tell_a_replicate_apart(tmp_path):
    adata = evaluated({"mine": {"mse": [0.1, 0.2]}, "additive": {"mse": [0.9, 0.8]}}, kinds={"mine": "prediction"})
    row = "<tr class=told><td>Told apart</td><td>{}</td></tr>"
    assert row.format("1.000") in spr.pl.report(adata, tmp_path / "page.html").read_text()
    adata.uns["evaluation"] = adata.uns["evaluation"].assign(calibrated=False, told_apart=0.5)
    page = spr.pl.report(adata, tmp_path / "page.html").read_text()
    assert row.format("0.500") in page
    assert "MSE (lower) *" in page


def test_headings_stand_over_their_columns_and_percent_signs_at_their_numbers():
    made = html.table(pd.DataFrame({"What": ["a", "b"], "Value": [1.0, "-"]}, index=["x", "y"]))
    assert "<th class=text>What</th><th>Value</th>" in made
    assert "5&nbsp;%" in html.paragraph("by 5 % or more")


def test_what_cannot_or_must_not_judge_is_left_out_of_the_verdict():
    good, bad = {"mse": [0.1, 0.2, 0.1]}, {"mse": [0.9, 0.8, 0.7]}
    for options in ({"calibrated": False}, {"roles": "rewarded"}):
        findings = Findings(evaluated({"generator": good, "additive": bad}, **options), "generator")
        assert findings.headline().startswith("No verdict")
    cells = {"variance_ratio": [1.0, 1.0, 1.0]}, {"variance_ratio": [0.5, 0.5, 0.4]}
    assert (
        Findings(evaluated({"generator": cells[0], "additive": cells[1]}), "generator").headline()[:10] == "No verdict"
    )
    alone = Findings(evaluated({"generator": {"mse": [0.1]}, "additive": {"mse": [0.9]}}), "generator")
    assert "One held-out condition" in alone.headline()


def test_the_best_baseline_is_the_best():
    values = {"generator": {"mse": [0.5, 0.5]}, "additive": {"mse": [0.2, 0.3]}, "perturbed_mean": {"mse": [0.9, 0.9]}}
    assert Findings(evaluated(values), "generator").best_baseline == "additive"


def test_what_cannot_be_drawn_is_named(tmp_path):
    adata = evaluated({"mine": {"mse": [0.1, 0.2]}, "additive": {"mse": [0.9, 0.8]}}, kinds={"mine": "prediction"})
    text = " ".join(read(spr.pl.report(adata, tmp_path / "page.html")).text)
    assert "left out" in text
    assert "'mine' beats" in text


def test_it_asks_for_an_evaluation_and_a_known_model(toy, finished, tmp_path):
    with pytest.raises(KeyError, match="tl.evaluate"):
        spr.pl.report(toy, tmp_path / "page.html")
    with pytest.raises(ValueError, match="'generator_lr'"):
        spr.pl.report(finished.copy(), tmp_path / "page.html", model="generator_lr")


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.nan, "-"), (3, "3"), (0.12345, "0.123"), (12.34, "12.3"), (123456.0, "1.2e+05"), (0.0, "0.000")],
)
def test_numbers_are_short(value, text):
    assert html.number(value) == text


def test_names_of_others_cannot_break_the_page():
    frame = pd.DataFrame({"<b>x": ["a&b", True, 1.5]}, index=["<i>", "b", "c"])
    made = html.table(frame)
    assert "&lt;b&gt;x" in made
    assert "&lt;i&gt;" in made
    assert "a&amp;b" in made
    assert "<td>yes</td>" in made
    assert "&lt;script&gt;" in html.settings({"x": "<script>"})


def test_folders_are_made_and_not_taken_for_files(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("scperturbrl.pl._page.report._pictures", lambda *_: [])
    assert spr.pl.report(finished.copy(), tmp_path / "new" / "report.html").is_file()
    with pytest.raises(ValueError, match="a folder. Name a file in it, such as .*report.html"):
        spr.pl.report(finished.copy(), tmp_path)
