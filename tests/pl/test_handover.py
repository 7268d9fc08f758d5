from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import scperturbrl as spr

MODELS = ["generator", "generator_rl", "control", "perturbed_mean", "matching_mean", "nearest_condition"]
MODELS += ["additive", "additive_ridge", "combination_ridge"]
PLOTS = {
    "verifier_scores": {"verifiers": "rmse_topk"},
    "embedding": {},
    "training_history": {"panels": "reward"},
    "evaluation": {"metrics": "mse"},
    "reward_shift": {},
    "effects": {"conditions": "GENE014"},
    "effects_heatmap": {"conditions": "GENE014"},
    "verifier_agreement": {},
    # with fewer pairs of model and condition than eight there is a sentence instead of data
    "verifier_correlation": {"models": MODELS},
}

plots = pytest.mark.parametrize("name", PLOTS)


def draw(adata, name, **options):
    return getattr(spr.pl, name)(adata, **PLOTS[name], **options)


@pytest.fixture
def settings():
    from scanpy import settings

    before = settings.autoshow
    yield settings
    settings.autoshow = before


@pytest.fixture
def shows(monkeypatch):
    calls = []
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: calls.append(1))
    return calls


@plots
def test_returns_axes_of_a_new_figure(adata, name, shows):
    ax = draw(adata, name, show=False)
    assert isinstance(ax, Axes)
    assert plt.get_fignums() == [ax.figure.number]
    assert not shows


@plots
def test_returns_the_figure_on_request(adata, name, shows):
    figure = draw(adata, name, return_fig=True)
    assert isinstance(figure, Figure)
    assert not shows


@plots
def test_shows_and_returns_nothing(adata, name, shows):
    assert draw(adata, name, show=True) is None
    assert len(shows) == 1


@plots
@pytest.mark.parametrize("autoshow", [True, False])
def test_follows_scanpy(adata, name, shows, autoshow, settings):
    settings.autoshow = autoshow
    assert (draw(adata, name) is None) is autoshow
    assert len(shows) == autoshow


@plots
def test_draws_on_given_axes_and_never_shows_them(adata, name, shows):
    figure, ax = plt.subplots()
    assert draw(adata, name, ax=ax, show=True) is ax
    assert plt.get_fignums() == [figure.number]
    assert ax.has_data()
    assert not shows


@plots
def test_wrong_number_of_axes(adata, name):
    _, axes = plt.subplots(1, 3)
    with pytest.raises(ValueError, match="3 axes; this plot has 1 panel"):
        draw(adata, name, ax=axes)


@plots
def test_size_of_the_figure(adata, name):
    figure = draw(adata, name, figsize=(5, 4), return_fig=True)
    np.testing.assert_allclose(figure.get_size_inches(), [5, 4])


@plots
def test_white_ground_and_no_leak_of_style(adata, name):
    with mpl.rc_context({"figure.facecolor": "black", "axes.facecolor": "grey", "axes.grid": True, "font.size": 13}):
        before = dict(mpl.rcParams)
        ax = draw(adata, name, show=False)
        assert dict(mpl.rcParams) == before
    assert mpl.colors.to_hex(ax.get_facecolor()) == mpl.colors.to_hex(ax.figure.get_facecolor()) == "#ffffff"
    assert not any(line.get_visible() for line in ax.get_xgridlines())
    assert ax.xaxis.label.get_size() == 13


@plots
@pytest.mark.parametrize("font", [8, 10, 16])
def test_no_text_is_cut_off(adata, name, font, inside):
    with mpl.rc_context({"font.size": font}):
        assert inside(draw(adata, name, return_fig=True))


@plots
def test_nothing_is_drawn_when_an_argument_is_wrong(adata, name):
    wrong = {"verifier_scores": "perturbations", "embedding": "perturbations", "evaluation": "models"}
    wrong |= {"reward_shift": "after", "effects_heatmap": "keys", "verifier_correlation": "metrics"}
    wrong |= {"verifier_agreement": "metric"}
    option = wrong.get(name, "key")
    with pytest.raises((KeyError, ValueError)):
        draw(adata, name, **{option: "nothing"})
    assert plt.get_fignums() == []


@plots
def test_repeating_a_plot_gives_the_same_picture(adata, name):
    pictures = []
    for _ in range(2):
        figure = draw(adata, name, return_fig=True)
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba()))
    np.testing.assert_array_equal(*pictures)
