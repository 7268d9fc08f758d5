from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.training import fit
from scperturbrl.flow.training.fit import FitSettings, fit_flow, validation_loss
from scperturbrl.flow.training.latent_cells import LatentCells
from scperturbrl.flow.training.weight_state import snapshot

QUICK = FitSettings(n_steps=40, batch_size=64, validate_every=10, progress=False)


def latent_cells(latent, codes, *, control=None, weight=None):
    n = len(latent)
    return LatentCells(
        latent=latent,
        codes=codes,
        control=torch.randn(50, latent.shape[1], generator=torch_rng(8, "test")) if control is None else control,
        control_start=torch.zeros(n, dtype=torch.long),
        control_count=torch.full((n,), 50 if control is None else len(control)),
        weight=torch.ones(n) if weight is None else weight,
    )


@pytest.fixture(scope="module")
def mixture():
    rng = np.random.default_rng(0)
    mode = rng.random(800) < 0.7
    first = np.where(mode[:, None], [1.5, 0.5], [-1.5, -1.0]) + rng.normal(0, 0.2, (800, 2))
    second = np.array([0.0, 2.0]) + rng.normal(0, 0.3, (800, 2))
    latent = torch.tensor(np.vstack([first, second])).float()
    return latent_cells(latent, torch.arange(2).repeat_interleave(800))


@pytest.fixture
def small(make_generator):
    return lambda seed=0: make_generator(seed, n_genes=4, n_latent=2, n_tokens=2, trained=False, width=32)


@pytest.fixture
def batch(make_batch):
    return make_batch([(1,), (2,)])


def test_a_two_dimensional_mixture_is_learnt(small, mixture, batch):
    generator = small()
    settings = FitSettings(
        n_steps=500, batch_size=256, learning_rate=4e-3, ema_decay=0.99, validate_every=50, progress=False
    )
    result = fit_flow(generator, mixture, mixture, batch, settings)
    history = result.history
    assert [row["step"] for row in history] == list(range(50, 501, 50))
    assert history[-1]["loss"] < 0.75 * history[0]["loss"]
    assert history[-1]["validation_loss"] < 0.75 * history[0]["validation_loss"]
    assert np.isnan(history[-1]["validation_energy"])
    assert result.stopped == "all steps done"
    assert result.best_step == 500
    with torch.no_grad():
        index = torch.arange(2).repeat_interleave(1500)
        control = mixture.control[torch.randint(50, (3000,), generator=torch_rng(0, "test"))]
        drawn = generator.sample_latent(control, batch, index, torch_rng(1, "test")).numpy()
    first, second = drawn[:1500], drawn[1500:]
    right = first[:, 0] > 0
    assert right.mean() == pytest.approx(0.7, abs=0.08)
    np.testing.assert_allclose(np.median(first[right], 0), [1.5, 0.5], atol=0.2)
    np.testing.assert_allclose(np.median(first[~right], 0), [-1.5, -1.0], atol=0.25)
    np.testing.assert_allclose(second.mean(0), [0, 2], atol=0.2)
    np.testing.assert_allclose(second.std(0), 0.3, atol=0.15)


def test_the_same_seed_gives_the_same_weights(small, mixture, batch):
    fits = []
    for seed in (0, 0, 1):
        generator = small()
        fit_flow(generator, mixture, None, batch, replace(QUICK, seed=seed))
        fits.append(snapshot(generator.network_parameters()))
    assert all(torch.equal(a, b) for a, b in zip(fits[0], fits[1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(fits[0], fits[2], strict=True))


class Watch:
    """Distances by plan; remembers the weights that it was shown."""

    def __init__(self, *values):
        self.values, self.seen = list(values), []

    def __call__(self, generator):
        self.seen.append(snapshot(generator.network_parameters()))
        return self.values[min(len(self.seen), len(self.values)) - 1]

    def kept(self, generator):
        own = snapshot(generator.network_parameters())
        same = [all(torch.equal(a, b) for a, b in zip(own, seen, strict=True)) for seen in self.seen]
        return same.index(True)


def test_the_best_weights_are_kept_and_patience_ends_it(small, mixture, batch):
    generator, watch = small(), Watch(0.1, 5.0, 2.0, 1.0, 3.0, 4.0, 6.0, 7.0, 8.0)
    result = fit_flow(generator, mixture, mixture, batch, replace(QUICK, n_steps=100, patience=3), watch)
    assert result.stopped == "no improvement"
    assert result.best_step == 40
    assert result.history[-1]["step"] == 70
    assert watch.kept(generator) == 3


def test_without_keep_best_the_last_weights_stay(small, mixture, batch):
    generator, watch = small(), Watch(*range(1, 9))
    settings = replace(QUICK, n_steps=80, patience=1, keep_best=False)
    result = fit_flow(generator, mixture, mixture, batch, settings, watch)
    assert (result.stopped, result.best_step) == ("all steps done", 80)
    assert watch.kept(generator) == len(watch.seen) - 1


def test_time_runs_out(small, mixture, batch):
    result = fit_flow(small(), mixture, None, batch, replace(QUICK, n_steps=100_000, max_seconds=0.3))
    assert result.stopped == "out of time"
    assert 0.3 <= result.seconds < 5
    assert result.history[-1]["step"] == result.best_step < 100_000


def test_early_steps_do_not_count_however_many_are_allowed(small, mixture, batch, monkeypatch):
    monkeypatch.setattr(fit, "EARLY", 30)
    generator, watch = small(), Watch(1, 1, 3, 2, 4, 4, 4, 4)
    result = fit_flow(generator, mixture, mixture, batch, replace(QUICK, n_steps=10_000, patience=4), watch)
    assert (result.stopped, result.best_step) == ("no improvement", 40)
    assert watch.kept(generator) == 3


def test_an_interrupt_keeps_the_best_state(small, mixture, batch):
    generator, handler = small(), signal.getsignal(signal.SIGINT)
    settings = replace(QUICK, n_steps=400, patience=10**6, validate_every=5)
    timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))

    class Interrupted(Watch):
        def __call__(self, generator):
            if len(self.seen) == 30:
                timer.start()
                timer.join()
            return super().__call__(generator)

    watch = Interrupted(*range(26, 0, -1), *range(2, 90))
    result = fit_flow(generator, mixture, mixture, batch, settings, watch)
    assert result.stopped == "interrupted"
    assert result.history[-1]["step"] == 156
    assert result.best_step == 130
    assert watch.kept(generator) == 25
    assert signal.getsignal(signal.SIGINT) is handler


def test_progress_goes_to_the_error_stream(small, mixture, batch, capsys):
    fit_flow(small(), mixture, None, batch, replace(QUICK, progress=True))
    shown = capsys.readouterr()
    assert "fitting the generator" in shown.err
    assert shown.out == ""


def test_validation_loss_is_the_same_at_every_call(small, mixture, batch):
    generator = small()
    losses = [validation_loss(generator, mixture, batch, replace(QUICK, seed=seed)) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_tokens_of_perturbations_with_features_can_be_forgotten(make_batch, mixture):
    from scperturbrl.flow.architecture import Architecture
    from scperturbrl.flow.generator import Generator

    generator = Generator(Architecture(4, 2, 2, 3, (), width=16, n_blocks=1))
    features = torch.tensor([[0.0] * 3, [1.0, 2.0, 3.0], [0.0] * 3])
    batch = make_batch([(1,), (2,)], features=features)
    before = generator.encoder.embedding.weight.detach().clone()
    fit_flow(generator, mixture, None, batch, replace(QUICK, token_dropout=1.0, weight_decay=0.0))
    after = generator.encoder.embedding.weight.detach()
    assert torch.equal(after[0], torch.zeros(16))
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[2], before[2])


def test_cells_are_paired_within_their_run_and_drawn_by_weight():
    control = torch.arange(10.0)[:, None]
    cells = LatentCells(
        latent=torch.arange(3.0)[:, None],
        codes=torch.tensor([0, 1, 2]),
        control=control,
        control_start=torch.tensor([0, 4, 9]),
        control_count=torch.tensor([4, 5, 1]),
        weight=torch.tensor([1.0, 3.0, 0.0]),
    )
    latent, partner, codes = cells.draw(4000, torch_rng(0, "test"))
    assert torch.equal(latent[:, 0].long(), codes)
    assert set(codes.tolist()) == {0, 1}
    assert (codes == 1).float().mean().item() == pytest.approx(0.75, abs=0.04)
    for code, run in ((0, range(4)), (1, range(4, 9))):
        found = partner[codes == code, 0].long()
        assert set(found.tolist()) == set(run)
    assert cells.pair(torch.tensor([2, 2]), torch_rng(0, "test"))[1].flatten().tolist() == [9, 9]


@pytest.mark.parametrize("max_seconds", [None, 1e9])
def test_the_learning_rate_warms_up_and_falls(small, mixture, batch, monkeypatch, max_seconds):
    rates = []
    step = torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    fit_flow(small(), mixture, None, batch, replace(QUICK, n_steps=200, max_seconds=max_seconds))
    peak = int(np.argmax(rates))
    assert 0 < peak < 110
    assert rates[0] < 0.5 * rates[peak]
    assert max(rates) <= QUICK.learning_rate
    assert (np.diff(rates[peak:]) <= 0).all()
    assert rates[-1] < 0.05 * rates[peak]
