from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from scperturbrl.flow.sampler import SOLVERS, integrate

ORDER = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}
EVALUATIONS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


def slope(x, t, sin, cos):
    return -x * sin(3 * t) + cos(2 * t) + 0.3 * x * x / (1 + x * x)


def field(x, t):
    return slope(x, t[:, None].double(), torch.sin, torch.cos)


START = np.array([[-1.0, 0.3], [0.5, 2.0]])


@pytest.fixture(scope="module")
def exact():
    solution = solve_ivp(lambda t, x: slope(x, t, np.sin, np.cos), (0, 1), START.ravel(), rtol=1e-12, atol=1e-12)
    return solution.y[:, -1].reshape(START.shape)


@pytest.mark.parametrize("solver", SOLVERS)
def test_order_of_convergence(solver, exact):
    steps = [4, 8, 16]
    run = lambda n: integrate(field, torch.tensor(START), n_steps=n, solver=solver).numpy()
    errors = [np.abs(run(n) - exact).max() for n in steps]
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order == pytest.approx(ORDER[solver], abs=0.35)
    assert errors[-1] < 0.05


@pytest.mark.parametrize("solver", SOLVERS)
def test_cost_and_times(solver):
    times = []

    def watched(x, t):
        times.append(t[0].item())
        return torch.zeros_like(x)

    integrate(watched, torch.zeros(1, 1), n_steps=3, solver=solver)
    assert len(times) == 3 * EVALUATIONS[solver]
    assert min(times) == 0
    assert max(times) <= 1 + 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_straight_flow_is_exact_in_one_step(solver):
    start, end = torch.randn(4, 2), torch.randn(4, 2)
    torch.testing.assert_close(integrate(lambda x, t: end - start, start, n_steps=1, solver=solver), end)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("first", [0, 1, 3, 4])
def test_the_way_can_be_gone_in_parts(solver, first):
    options = {"n_steps": 4, "solver": solver}
    start = torch.randn(5, 2)
    part = integrate(field, start, steps=range(first), **options)
    assert torch.equal(integrate(field, part, steps=range(first, 4), **options), integrate(field, start, **options))


@pytest.mark.parametrize("n_last", [1, 2, 4])
def test_gradient_runs_through_the_steps_that_were_taken_with_it(n_last):
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    start = torch.tensor([[1.3]], dtype=torch.float64)
    go = lambda x, steps: integrate(lambda x, t: rate * x, x, n_steps=4, solver="euler", steps=steps)
    with torch.no_grad():
        before = go(start, range(4 - n_last))
    end = go(before, range(4 - n_last, 4))
    end.sum().backward()
    growth = 1 + 0.7 / 4
    # d/da of x_k (1 + a h)^m with x_k taken as given and m = n_last
    expected = 1.3 * growth ** (4 - n_last) * n_last / 4 * growth ** (n_last - 1)
    assert rate.grad.item() == pytest.approx(expected)
    assert end.item() == pytest.approx(1.3 * growth**4)


def test_unknown_solver_is_named():
    with pytest.raises(ValueError, match=r"'rk5'.*'euler'.*'rk4'"):
        integrate(field, torch.zeros(1, 1), solver="rk5")
