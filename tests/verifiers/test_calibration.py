import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from scperturbrl.verifiers import Calibration, calibrate, combine, fit_calibration, resolve


def draw(seed=0, *, n=21, m=30, gap=1.0):
    rng = np.random.default_rng(seed)
    real, control = rng.normal(gap, 1, (4, n, 3)), rng.normal(0, 1, (4, m, 3))
    real[1, n // 2 :], control[2, 4:] = np.nan, np.nan
    return torch.from_numpy(real), torch.from_numpy(control)


@pytest.mark.parametrize(("n", "m"), [(21, 30), (22, 31), (2, 5)])
def test_medians_and_auroc_are_numpys_and_sklearns(n, m):
    real, control = draw(n=n, m=m)
    calibration = fit_calibration(real, control)
    np.testing.assert_allclose(calibration.real_median, np.nanmedian(real, axis=1))
    np.testing.assert_allclose(calibration.control_median, np.nanmedian(control, axis=1))
    for c, v in np.ndindex(4, 3):
        scores = [x[c, :, v][~x[c, :, v].isnan()].numpy() for x in (real, control)]
        label = np.repeat([1, 0], [len(x) for x in scores])
        assert calibration.auroc[c, v].item() == pytest.approx(roc_auc_score(label, np.concatenate(scores)))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**16))
def test_medians_map_to_zero_and_one_and_nothing_exceeds_one(seed):
    real, control = draw(seed)
    calibration = fit_calibration(real, control)
    at = torch.stack([calibration.control_median, calibration.real_median], dim=1)
    positions = calibrate(at, calibration).transpose(1, 2)[calibration.weight > 0]
    np.testing.assert_allclose(positions, np.tile([0, 1], (len(positions), 1)), atol=1e-9)
    calibrated = calibrate(torch.cat([10 * real, control], dim=1), calibration)
    assert calibrated.nan_to_num().abs().max() <= 1


def test_calibrated_scores_are_a_straight_line_between_the_medians():
    ones = torch.ones(1, 1)
    calibration = Calibration(0.2 * ones, 0.6 * ones, ones, ones)
    scores = torch.tensor([-9.0, 0.0, 0.2, 0.3, 0.6, 0.9]).view(1, -1, 1)
    np.testing.assert_allclose(calibrate(scores, calibration).flatten(), [-1, -0.5, 0, 0.25, 1, 1], atol=1e-6)


def test_weight_is_zero_where_real_and_control_look_alike():
    real, control = draw(n=2000, m=2000, gap=0.05)
    control[2] = draw(1, n=2000, m=2000)[1][0]
    calibration = fit_calibration(real, control)
    assert (calibration.real_median > calibration.control_median).any()
    assert (calibration.weight == 0).all()
    assert (fit_calibration(real + 1, control).weight == 1).all()
    assert (fit_calibration(real + 1, control, min_auroc=0.99).weight == 0).all()
    assert (fit_calibration(real - 1, control, min_auroc=0).weight == 0).all()


def test_weight_is_zero_and_calibrated_scores_are_nan_without_scores():
    real, control = draw()
    real[0], control[3] = torch.nan, torch.nan
    calibration = fit_calibration(real, control)
    assert (calibration.weight[[0, 3]] == 0).all()
    calibrated = calibrate(control.nan_to_num(), calibration)
    assert calibrated[[0, 3]].isnan().all()
    assert calibrated[1].isfinite().all()
    assert (fit_calibration(real[:, :0], control).weight == 0).all()


def test_combine_is_the_weighted_mean_over_informative_verifiers():
    calibrated = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 5, 3)))
    informative = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    calibration = Calibration(informative, informative, informative, informative)
    calibrated[0, :, 1] = torch.nan
    got = combine(calibrated, calibration, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    np.testing.assert_allclose(got[0], np.average(calibrated[0][:, [0, 2]], axis=-1, weights=[1, 3]))
    np.testing.assert_allclose(got[1], np.average(calibrated[1], axis=-1, weights=[1, 2, 3]))


def test_combine_is_nan_where_nothing_informs():
    calibration = Calibration(*[torch.zeros(1, 2)] * 4)
    assert combine(torch.ones(1, 3, 2), calibration, torch.ones(2)).isnan().all()
    informed = Calibration(*[torch.ones(1, 2)] * 4)
    assert combine(torch.ones(1, 3, 2), informed, torch.zeros(2)).isnan().all()
    unscored = torch.tensor([[[1.0, torch.nan], [1.0, 0.0]]])
    assert combine(unscored, informed, torch.ones(2)).isnan().tolist() == [[True, False]]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0]])
def test_weights_without_meaning_are_refused(weights):
    calibration = Calibration(*[torch.ones(1, 2)] * 4)
    with pytest.raises(ValueError, match="weights"):
        combine(torch.ones(1, 3, 2), calibration, torch.tensor(weights))


def test_scores_of_other_shapes_are_refused():
    real, control = draw()
    with pytest.raises(ValueError, match="same C and V"):
        fit_calibration(real, control[..., :2])


def test_gradient_stops_beyond_real_cells_and_is_finite_everywhere():
    real, control = draw()
    real[0] = torch.nan
    calibration = fit_calibration(real, control)
    scores = torch.tensor([-50.0, 0.3, 50.0], dtype=torch.float64).view(1, 3, 1).repeat(4, 1, 3).requires_grad_()
    reward = combine(calibrate(scores, calibration), calibration, torch.ones(3, dtype=torch.float64))
    reward.nan_to_num().sum().backward()
    assert (scores.grad[:, [0, 2]] == 0).all()
    assert (scores.grad[:, 1][calibration.weight > 0] > 0).all()
    assert (scores.grad[0] == 0).all()


def test_select_and_to_act_on_every_tensor():
    calibration = fit_calibration(*draw())
    chosen = calibration.select(torch.tensor([2, 0]))
    assert len(chosen) == 2
    for name, value in vars(calibration).items():
        torch.testing.assert_close(getattr(chosen, name), value[[2, 0]], equal_nan=True)
    assert {value.device.type for value in vars(calibration.to("meta")).values()} == {"meta"}


def test_real_cells_outside_the_bank_earn_the_reward_of_real_cells(make_world):
    world = make_world(2, n=80, M=30)
    score = lambda cells: torch.stack([v(cells, world.reference) for v in resolve()], dim=-1)
    calibration = fit_calibration(score(world.cells[:, :40]), score(world.controls[:, :40]))
    reward = lambda cells: combine(
        calibrate(score(cells), calibration), calibration, torch.ones(4, dtype=torch.float64)
    )
    assert (calibration.weight == 1).all()
    assert (reward(world.cells[:, 40:]).mean(1) > 0.6).all()
    assert (reward(world.controls[:, 40:]).mean(1).abs() < 0.4).all()
