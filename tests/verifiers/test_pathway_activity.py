import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import linregress

from scperturbrl.verifiers import pathway_activity, standardise_network, ulm_correlation, ulm_t


@pytest.fixture
def regression():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(80, 5)) * (rng.random((80, 5)) < 0.4)
    return rng.normal(0.5, 1, (6, 80)) + 0.8 * weights[:, :1].T, weights


def slow(cells, reference):
    def score(c, x):
        r = [linregress(p, x - reference.control_mean[c].numpy()).rvalue for p in reference.network.T.numpy()]
        w = reference.pathway_weight[c].numpy()
        sign = np.sign(reference.pathway_response[c].numpy())
        return np.average(np.tanh(sign * r / reference.pathway_scale[c].numpy()), weights=w)

    return [[score(c, x.numpy()) for x in cells[c]] for c in range(len(reference))]


def test_score_is_the_slow_loop(world):
    assert (world.reference.pathway_weight == 0).any()
    np.testing.assert_allclose(pathway_activity()(world.cells, world.reference), slow(world.cells, world.reference))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_t_values_and_correlations_are_those_of_scipy(regression, dtype):
    effects, weights = (torch.from_numpy(x).to(dtype) for x in regression)
    network = standardise_network(weights)
    fits = [[linregress(w, y) for w in regression[1].T] for y in regression[0]]
    rtol = 1e-4 if dtype == torch.float32 else 1e-10
    np.testing.assert_allclose(
        ulm_correlation(effects, network), [[f.rvalue for f in row] for row in fits], rtol=rtol, atol=1e-7
    )
    np.testing.assert_allclose(
        ulm_t(effects, network), [[f.slope / f.stderr for f in row] for row in fits], rtol=rtol, atol=1e-6
    )


def test_t_values_are_those_of_decoupler(regression):
    dc = pytest.importorskip("decoupler")
    effects, weights = regression
    genes = [f"g{i:02d}" for i in range(80)]
    adata = ad.AnnData(effects, var=pd.DataFrame(index=genes))
    net = pd.DataFrame(weights, index=genes, columns=list("ABCDE")).melt(ignore_index=False, var_name="source")
    net = net.rename_axis("target").reset_index().rename(columns={"value": "weight"}).query("weight != 0")
    dc.mt.ulm(adata, net, tmin=1)
    got = ulm_t(torch.from_numpy(effects), standardise_network(torch.from_numpy(weights)))
    np.testing.assert_allclose(got, adata.obsm["score_ulm"][list("ABCDE")], rtol=1e-4)


def test_standardised_columns_are_centred_with_unit_norm(regression):
    weights = torch.from_numpy(regression[1])
    weights[:, 2] = 0
    network = standardise_network(weights)
    torch.testing.assert_close(network.sum(0), torch.zeros(5, dtype=network.dtype), atol=1e-12, rtol=0)
    assert network.norm(dim=0).tolist() == pytest.approx([1, 1, 0, 1, 1])


@pytest.mark.parametrize("level", [0.0, 0.3, -4.0])
def test_the_same_effect_in_every_gene_has_no_activity_and_no_gradient(world, level):
    cells = (world.reference.control_mean.unsqueeze(1) + level).float().requires_grad_()
    flat = world.reference.control_mean.float().unsqueeze(1)
    r = ulm_correlation(cells - flat, world.reference.network.float())
    r.sum().backward()
    assert (r == 0).all()
    assert (cells.grad == 0).all()


def test_gradient_is_that_of_finite_differences(world):
    effects = (world.cells - world.reference.control_mean.unsqueeze(1))[:1, :2].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ulm_correlation(x, world.reference.network), (effects,))


def test_no_significant_pathway_is_nan(world):
    weight = world.reference.pathway_weight.clone()
    weight[1] = 0
    got = pathway_activity()(world.cells, world.reference.replace(pathway_weight=weight))
    assert got.isnan().all(-1).tolist() == [False, True, False]
    assert got[[0, 2]].isfinite().all()


def test_no_network_is_nan(make_world):
    world = make_world(P=0)
    assert pathway_activity()(world.cells, world.reference).isnan().all()


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_pathways_without_weight_may_be_undefined(world, value):
    weight, scale, response = (
        getattr(world.reference, f"pathway_{name}").clone() for name in ("weight", "scale", "response")
    )
    weight[:, 0] = 0
    expected = pathway_activity()(world.cells, world.reference.replace(pathway_weight=weight))
    scale[:, 0] = response[:, 0] = value
    if np.isnan(value):
        weight[:, 0] = value
    cells = world.cells.clone().requires_grad_()
    undefined = world.reference.replace(pathway_weight=weight, pathway_scale=scale, pathway_response=response)
    got = pathway_activity()(cells, undefined)
    torch.testing.assert_close(got, expected)
    got.sum().backward()
    assert cells.grad.isfinite().all()


def test_opposite_effects_score_opposite(world):
    control = world.reference.control_mean.unsqueeze(1)
    mirrored = 2 * control - world.cells
    verifier = pathway_activity()
    torch.testing.assert_close(verifier(mirrored, world.reference), -verifier(world.cells, world.reference))
