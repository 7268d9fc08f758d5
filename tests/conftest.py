from __future__ import annotations

import copy
import hashlib
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import matplotlib as mpl
import matplotlib.pyplot as plt
import numba
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import sklearn.linear_model  # noqa: F401  loads the libraries whose threads are limited below
import torch
from hypothesis import HealthCheck, settings
from scipy import sparse
from threadpoolctl import threadpool_limits

import scperturbrl as spr
from scperturbrl._core.random import torch_rng
from scperturbrl.data.generator import trained_means
from scperturbrl.flow.architecture import Architecture
from scperturbrl.flow.condition_encoder import ConditionBatch
from scperturbrl.flow.control_cells import SparseRows
from scperturbrl.flow.generator import Generator
from scperturbrl.flow.rollout.control_pool import ControlPool
from scperturbrl.flow.rollout.task import Task
from scperturbrl.flow.training.fit import FitSettings, fit_flow
from scperturbrl.flow.training.latent_cells import LatentCells
from scperturbrl.metrics import registry as metrics
from scperturbrl.metrics.baselines import registry as baselines
from scperturbrl.pl import registry as plots
from scperturbrl.rl.reward import Reward
from scperturbrl.rl.rules import registry as rules
from scperturbrl.verifiers import Reference, Verifier
from scperturbrl.verifiers import registry as verifier_registry
from scperturbrl.verifiers.calibration import Calibration

SHARED = Path(__file__).parents[2] / "shared" / "data"


# Arrays are tiny here, and threads that wait for each other cost many times the work, above all where test processes
# share the cores. Scanpy's numba functions give PyTorch as many threads as they have themselves, whatever
# OMP_NUM_THREADS says, so all are told; the variable is for processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
numba.set_num_threads(1)
torch.set_num_threads(1)
threadpool_limits(limits=1)

mpl.use("Agg")

# how long an example takes says something about the machine only
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Generating cells for the means of trained conditions takes a third of the time of so short a fit, and all of that of a
# transformer. An eighth of them is enough, but where means are tested.
ALL_CELLS, trained_means.N_MOST = trained_means.N_MOST, 256


@pytest.fixture(scope="module")
def all_cells_for_means():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained_means, "N_MOST", ALL_CELLS)
        yield


@pytest.fixture(autouse=True)
def no_figures_left_open():
    # one that a test leaves behind would be drawn on by the next one, whichever that is
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def shared_data():
    if not SHARED.is_dir():
        pytest.skip("the real data sets are not here")
    return SHARED


@pytest.fixture(scope="session")
def read_shared(shared_data):

    def read(name):
        path = shared_data / name
        if not path.exists():
            pytest.skip(f"{name} is not here")
        if path.suffix == ".gz":
            return pd.read_csv(path)
        return anndata.read_h5ad(path)

    return read


@pytest.fixture
def no_traces():
    """What a test registers is forgotten after it."""
    known = (verifier_registry._FACTORIES, rules._RULES, metrics._METRICS, baselines._ADDED, plots._ADDED)
    before = [(own, dict(own)) for own in known]
    yield
    for name in set(plots._ADDED) - set(before[-1][1]):
        delattr(spr.pl, name)
    for own, old in before:
        own.clear()
        own.update(old)


def digest_of(adata):
    """Hash of everything in an AnnData: values, names, order, types."""
    total = hashlib.sha256()

    def add(value):
        if isinstance(value, dict) or hasattr(value, "items") and not isinstance(value, (pd.DataFrame, pd.Series)):
            for key in sorted(map(str, value.keys())):
                total.update(key.encode())
                add(value[key])
        elif isinstance(value, pd.DataFrame):
            total.update(repr((list(value.columns), list(map(str, value.dtypes)))).encode())
            total.update(value.to_csv().encode("utf-8", "surrogatepass"))
        elif sparse.issparse(value):
            add(value.format)
            for part in (value.tocsr().data, value.tocsr().indices, value.tocsr().indptr):
                add(part)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            total.update(repr((value.dtype.str, value.shape)).encode() + value.tobytes())
        else:
            total.update(repr(value).encode("utf-8", "surrogatepass"))

    # newer AnnData list X among the layers, under None
    layers = {name: value for name, value in adata.layers.items() if name is not None}
    for part in (adata.X, adata.obs, adata.var, adata.uns, layers, dict(adata.obsm), dict(adata.varm)):
        add(part)
    return total.hexdigest()


@pytest.fixture(scope="session")
def digest():
    return digest_of


@pytest.fixture(scope="session")
def ready_toy():
    adata = spr.datasets.toy()
    spr.pp.setup_anndata(adata)
    spr.pp.split(adata, validation_fraction=0.15)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
    return adata


@pytest.fixture
def toy(ready_toy):
    return ready_toy.copy()


@pytest.fixture(scope="session")
def at_share():
    """Function from data with counts to a copy with shares of the counts of treated and of control cells, normalised again."""

    def thin(adata, treated, controls=1.0, *, total=1e4):
        counts = adata.layers["counts"].tocsr().astype(np.int64)
        is_control = (adata.obs["perturbation"] == "control").to_numpy()
        share = np.repeat(np.where(is_control, controls, treated), np.diff(counts.indptr))
        counts.data = np.random.default_rng(0).binomial(counts.data, share)
        counts.eliminate_zeros()
        found = adata.copy()
        found.X = counts.astype(np.float32)
        found.uns.pop("log1p", None)
        sc.pp.normalize_total(found, target_sum=total)
        sc.pp.log1p(found)
        return found

    return thin


@pytest.fixture(scope="session")
def halved(ready_toy, at_share):
    """The toy data, whose treated cells have half of their counts."""
    adata = at_share(ready_toy, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.reference(adata)
    return adata


@pytest.fixture(scope="session")
def finished():
    # all that tables and plots read
    adata = spr.datasets.toy()
    with warnings.catch_warnings():
        # so short a run may well set off the guard
        warnings.simplefilter("ignore", UserWarning)
        spr.pp.setup_anndata(adata)
        spr.pp.split(adata, validation_fraction=0.15)
        spr.pp.reference(adata)
        spr.tl.fit_generator(adata, n_steps=30, width=32, n_latent=8)
        spr.tl.rl_finetune(adata, n_iterations=4, n_conditions=3, guard=False)
        for key in ("generator", "generator_rl"):
            spr.tl.generate(adata, key=key)
            spr.tl.score(adata, layer=key)
        spr.tl.score(adata)
        spr.tl.evaluate(adata, n_cells=60)
    return adata


@pytest.fixture(scope="session")
def loaded_kang(read_shared):
    adata = read_shared("kang_2018_pbmc_ifnb.h5ad")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture
def kang(loaded_kang):
    return loaded_kang.copy()


@pytest.fixture(scope="session")
def loaded_zhao(read_shared):
    adata = read_shared("zhao_2021_gbm_panobinostat.h5ad")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture
def zhao(loaded_zhao):
    return loaded_zhao.copy()


@pytest.fixture(scope="session")
def loaded_norman(read_shared):
    adata = read_shared("norman_2019_k562_crispra.h5ad")
    # 250 genes are no library, so the size over all genes is used
    scale = 1e4 / adata.obs["size_total"].to_numpy(dtype=np.float64)
    adata.X = (sparse.diags(scale) @ adata.X).tocsr().astype(np.float32)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture
def norman(loaded_norman):
    return loaded_norman.copy()


@pytest.fixture(scope="session")
def kang_reference(loaded_kang, read_shared):
    adata = loaded_kang.copy()
    adata.obs["everything"] = "train"
    spr.pp.setup_anndata(adata, covariate_keys=["cell_type"])
    spr.pp.split(adata, holdout="column", column="everything")
    spr.pp.reference(adata, network=read_shared("networks/progeny_human_top100.csv.gz"))
    return adata


# a small world of tensors, for the flow and for post-training
C, D, G, LEVEL = 3, 2, 8, 5.0
CENTRES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])


@dataclass(frozen=True)
class World:
    generator: Generator
    task: Task
    reward: Reward
    validation: Task


def conditions(tokens):
    n = len(tokens)
    return ConditionBatch(
        tokens=torch.tensor(tokens)[:, None],
        features=torch.zeros(n, 1, 0),
        present=torch.ones(n, 1),
        dose=torch.zeros(n),
        covariates=torch.zeros(n, 0, dtype=torch.long),
        shift=torch.zeros(n, 1),
    )


def blank_generator():
    """A generator whose counts are so deep that a cell is its latent point: encode(cells) is close to latent."""
    generator = Generator(Architecture(G, D, C, 0, (), width=32, n_blocks=1))
    generator.space.components.copy_(torch.linalg.qr(torch.randn(G, D, generator=torch_rng(0, "components"))).Q)
    generator.space.mean.fill_(LEVEL)
    generator.observation.intercept.fill_(LEVEL)
    generator.observation.loading.copy_(generator.space.components.T)
    generator.observation.log_theta.fill_(9.0)
    return generator


def latent_cells(n, rng):
    codes = torch.arange(C).repeat_interleave(n)
    latent = CENTRES[codes] + 0.5 * torch.randn(C * n, D, generator=rng)
    control = 0.5 * torch.randn(200, D, generator=rng)
    start, count = torch.zeros(C * n, dtype=torch.long), torch.full((C * n,), 200)
    return LatentCells(latent, codes, control, start, count, torch.ones(C * n))


def coordinate(axis, components, **change):
    """Verifier whose score is one coordinate of the cell."""
    verifier = Verifier(
        name=f"coordinate_{axis}",
        score=lambda cells, reference: (cells - reference.control_mean[:, None]) @ components[:, axis],
        label="Coordinate",
        description="Coordinate of the cell.",
        range=(-float("inf"), float("inf")),
        needs=("control_mean",),
    )
    return replace(verifier, **change)


def reference():
    empty = torch.zeros(C, 0)
    return Reference(
        conditions=tuple("abc"),
        control_mean=torch.full((C, G), LEVEL),
        effect=torch.zeros(C, G),
        ranked_genes=torch.arange(G).expand(C, G),
        n_significant=torch.zeros(C, dtype=torch.long),
        bank=torch.zeros(C, 1, G),
        network=torch.zeros(G, 0),
        pathway_response=empty,
        pathway_weight=empty,
        pathway_scale=empty,
    )


def calibration(n_verifiers=1, *, weight=None):
    shape = (C, n_verifiers)
    weight = torch.ones(shape) if weight is None else torch.tensor(weight)
    return Calibration(torch.zeros(shape), torch.full(shape, 2.0), torch.ones(shape), weight)


@pytest.fixture(scope="session")
def trained_world():
    generator, rng = blank_generator(), torch_rng(0, "test")
    cells = latent_cells(300, rng)
    settings = FitSettings(n_steps=300, learning_rate=4e-3, ema_decay=0.99, validate_every=300, progress=False)
    fit_flow(generator, cells, None, conditions([1, 2, 3]), settings)
    unit, first = torch.full((200,), 0.02), torch.zeros(C, dtype=torch.long)
    mean = torch.exp(generator.observation.log_rate(cells.control)) / 0.02
    counts = SparseRows.of(torch.poisson(mean, generator=torch_rng(0, "control counts")))
    pool = ControlPool(cells.control, cells.control, counts, unit, first, torch.full((C,), 200), torch.ones(C))
    real = cells.latent.view(C, 300, D).clone()
    real[1, 250:] = torch.nan
    task = Task(conditions([1, 2, 3]), pool, real)
    verifier = coordinate(0, generator.space.components)
    reward = Reward([verifier], reference(), calibration(), torch.ones(1))
    alone = {name: getattr(pool, name)[:1] for name in ("start", "count", "depth")}
    validation = Task(conditions([1]), replace(pool, **alone), real[:1])
    return World(generator.eval(), task, reward, validation)


@pytest.fixture
def world(trained_world):
    return replace(trained_world, generator=copy.deepcopy(trained_world.generator))


@pytest.fixture(scope="session")
def make_reward(trained_world):
    def make(*verifiers, weight=None, weights=None, **options):
        n = len(verifiers)
        values = torch.ones(n) if weights is None else torch.tensor(weights)
        return Reward(list(verifiers), reference(), calibration(n, weight=weight), values, **options)

    return make


@pytest.fixture(scope="session")
def make_verifier(trained_world):
    return lambda axis=0, **change: coordinate(axis, trained_world.generator.space.components, **change)
