import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats as sps
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from scperturbrl._core import stats

rows = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(3, 12)), elements=st.integers(-5, 5))
fuzz = settings(deadline=None, max_examples=50)
seeds = st.integers(0, 2**31 - 1)


def draw(shape, seed=0, *, ties=False):
    x = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(np.round(2 * x) / 2 if ties else x)


@pytest.mark.parametrize("ties", [False, True])
def test_average_ranks_are_scipys(ties):
    x = draw((3, 5, 40), ties=ties)
    np.testing.assert_array_equal(stats.average_ranks(x), sps.rankdata(x, axis=-1))


@fuzz
@given(rows)
def test_average_ranks_of_many_ties_are_scipys(x):
    np.testing.assert_array_equal(stats.average_ranks(torch.from_numpy(x)), sps.rankdata(x, axis=-1))


@fuzz
@given(hnp.arrays(np.float32, (3, 9), elements=st.floats(width=32, allow_nan=False)))
def test_average_ranks_in_single_precision_are_scipys(x):
    np.testing.assert_array_equal(stats.average_ranks(torch.from_numpy(x)), sps.rankdata(x, axis=-1))


def test_average_ranks_of_the_two_zeros_and_of_infinities_are_scipys():
    x = np.array([[0.0, -0.0, 1e-45, -1e-45, np.inf, -np.inf, np.inf, -3.0]], dtype=np.float32)
    np.testing.assert_array_equal(stats.average_ranks(torch.from_numpy(x)), sps.rankdata(x, axis=-1))


@pytest.mark.parametrize("masked", [False, True])
def test_ranks_of_many_rows_are_those_of_each(masked):
    x = draw((90, 1500), ties=True).float()
    mask = draw((90, 1500), seed=1) > 0 if masked else None
    alone = [stats.average_ranks(row, None if mask is None else mask[i]) for i, row in enumerate(x)]
    torch.testing.assert_close(stats.average_ranks(x, mask), torch.stack(alone), rtol=0, atol=0)


@fuzz
@given(rows, seeds)
def test_masked_ranks_are_ranks_of_what_is_left(x, seed):
    mask = np.random.default_rng(seed).random(x.shape) < 0.6
    ranks = stats.average_ranks(torch.from_numpy(x), torch.from_numpy(mask)).numpy()
    for row, used, got in zip(x, mask, ranks, strict=True):
        np.testing.assert_array_equal(got[used], sps.rankdata(row[used]))
        np.testing.assert_array_equal(got[~used], 0)


def test_nan_makes_the_ranks_of_its_row_nan():
    x = torch.tensor([[1.0, torch.nan, 3.0], [3.0, 2.0, 1.0]])
    assert stats.average_ranks(x)[0].isnan().all()
    assert stats.average_ranks(x)[1].tolist() == [3, 2, 1]
    hidden = stats.average_ranks(x, torch.tensor([True, False, True]))
    assert hidden.tolist() == [[1, 0, 2], [2, 0, 1]]
    assert stats.average_ranks(x, torch.tensor([True, True, False]))[0, :2].isnan().all()


def test_infinite_values_are_ranked_apart_from_masked_ones():
    ranks = stats.average_ranks(torch.tensor([torch.inf, 1.0, 5.0]), torch.tensor([True, True, False]))
    assert ranks.tolist() == [2, 1, 0]


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_average_ranks_of_nothing(shape):
    assert stats.average_ranks(torch.zeros(shape)).shape == shape


@fuzz
@given(rows, seeds)
def test_ranks_ignore_monotone_maps_and_follow_permutations(x, seed):
    x = torch.from_numpy(x)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(x.shape[-1]))
    ranks = stats.average_ranks(x)
    torch.testing.assert_close(stats.average_ranks(torch.exp(x) + 2), ranks)
    torch.testing.assert_close(stats.average_ranks(x[:, order]), ranks[:, order])


@fuzz
@given(rows)
def test_soft_ranks_tend_to_average_ranks(x):
    x = torch.from_numpy(x)
    torch.testing.assert_close(stats.soft_ranks(x, 1e-3), stats.average_ranks(x), atol=1e-6, rtol=0)


def test_soft_ranks_are_the_sum_of_sigmoids():
    x = draw((2, 7)).numpy()
    expected = [[0.5 + sum(expit((g - h) / (0.3 * row.std())) for h in row) for g in row] for row in x]
    np.testing.assert_allclose(stats.soft_ranks(torch.from_numpy(x), 0.3), expected, rtol=1e-10)


@fuzz
@given(seeds, st.floats(0.01, 100), st.floats(-10, 10))
def test_soft_ranks_ignore_scale_and_shift(seed, scale, shift):
    x = draw((2, 9), seed)
    torch.testing.assert_close(stats.soft_ranks(scale * x + shift), stats.soft_ranks(x))


def test_masked_soft_ranks_are_soft_ranks_of_what_is_left():
    x, mask = draw(8), torch.tensor([True] * 5 + [False] * 3)
    ranks = stats.soft_ranks(x.masked_fill(~mask, torch.nan), mask=mask)
    torch.testing.assert_close(ranks[:5], stats.soft_ranks(x[:5]))
    assert (ranks[5:] == 0).all()


@pytest.mark.parametrize(
    ("ours", "scipys"), [(stats.pearson, sps.pearsonr), (stats.spearman, sps.spearmanr)], ids=["pearson", "spearman"]
)
@pytest.mark.parametrize("masked", [False, True])
def test_correlations_are_scipys(ours, scipys, masked):
    a, b = draw((3, 4, 30), 1, ties=True), draw((3, 1, 30), 2)
    mask = draw((3, 1, 30), 3) > -0.5 if masked else torch.ones(3, 1, 30, dtype=torch.bool)
    got = ours(a, b, mask) if masked else ours(a, b)
    expected = [[scipys(a[i, j][mask[i, 0]], b[i, 0][mask[i, 0]])[0] for j in range(4)] for i in range(3)]
    np.testing.assert_allclose(got, expected, atol=1e-12)


@fuzz
@given(seeds, st.floats(0.01, 100), st.floats(-100, 100))
def test_pearson_ignores_scale_and_shift(seed, scale, shift):
    a, b = draw((2, 9), seed), draw((2, 9), seed + 1)
    torch.testing.assert_close(stats.pearson(scale * a + shift, b), stats.pearson(a, b))


@fuzz
@given(rows, rows)
def test_correlations_stay_in_range(a, b):
    a, b = torch.from_numpy(a).float(), torch.from_numpy(b).float()
    k = min(a.shape[-1], b.shape[-1])
    for correlation in (stats.pearson, stats.spearman):
        r = correlation(a[:1, :k], b[:, :k])
        assert (r.abs() <= 1).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e6])
def test_constant_rows_correlate_zero_without_gradient(value):
    a = torch.full((2, 50), value, requires_grad=True)
    r = stats.pearson(a, torch.randn(2, 50))
    r.sum().backward()
    assert (r == 0).all()
    assert (a.grad == 0).all()
    assert (stats.spearman(a, torch.randn(2, 50)) == 0).all()


def test_tiny_effects_are_not_constant():
    a, b = draw((2, 20), 1), draw((2, 20), 2)
    torch.testing.assert_close(stats.pearson(1e-12 * a, b), stats.pearson(a, b))


def test_nan_rows_correlate_nan():
    a = torch.tensor([[1.0, torch.nan, 3.0], [1.0, 2.0, 4.0]])
    assert stats.pearson(a, a[1]).isnan().tolist() == [True, False]
    assert stats.spearman(a, a[1]).isnan().tolist() == [True, False]


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_finite_differences(masked):
    a, b = draw((2, 8), 1).requires_grad_(), draw((2, 8), 2).requires_grad_()
    mask = torch.arange(8) < 6 if masked else None
    assert torch.autograd.gradcheck(lambda a, b: stats.pearson(a, b, mask), (a, b))
    assert torch.autograd.gradcheck(lambda a: stats.soft_ranks(a, mask=mask), (a,))


@fuzz
@given(rows)
def test_gradients_are_finite(x):
    x = torch.from_numpy(x).requires_grad_()
    (stats.pearson(stats.soft_ranks(x), x.detach().flip(-1)) + stats.pearson(x, x.detach().flip(-1))).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_is_sklearns(ties):
    positive, negative = draw((2, 3, 15), 1, ties=ties) + 0.5, draw((2, 3, 22), 2, ties=ties)
    label = np.r_[np.ones(15), np.zeros(22)]
    expected = [[roc_auc_score(label, np.r_[positive[i, j], negative[i, j]]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(stats.auroc(positive, negative), expected, rtol=1e-12)


def test_auroc_takes_nan_for_padding():
    positive, negative = draw(15, 1), draw(22, 2)
    pad = lambda x: torch.cat([x, torch.full((4,), torch.nan, dtype=x.dtype)])
    torch.testing.assert_close(stats.auroc(pad(positive), pad(negative)), stats.auroc(positive, negative))
    assert stats.auroc(positive, negative * torch.nan).isnan()
    assert stats.auroc(positive * torch.nan, negative).isnan()


def test_auroc_of_many_scores_in_single_precision():
    positive, negative = draw(60_000, 1).float() + 0.1, draw(60_000, 2).float()
    expected = roc_auc_score(np.r_[np.ones(60_000), np.zeros(60_000)], torch.cat([positive, negative]))
    assert stats.auroc(positive, negative).item() == pytest.approx(expected, abs=1e-5)


@fuzz
@given(rows, rows)
def test_swapping_sides_mirrors_the_auroc(a, b):
    a, b = torch.from_numpy(a[0]), torch.from_numpy(b[0])
    assert stats.auroc(a, b).item() == pytest.approx(1 - stats.auroc(b, a).item())


def test_half_precision_is_ranked_too():
    assert stats.average_ranks(torch.tensor([3, 1, 1], dtype=torch.bfloat16)).tolist() == [3, 1.5, 1.5]
