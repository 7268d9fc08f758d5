from __future__ import annotations

import io

import pytest
import scanpy as sc

import scperturbrl as spr

WRITES = {
    "setup_anndata": ["uns['scperturbrl']"],
    "split": ["obs['split']", "uns['scperturbrl']['split']"],
    "reference": [
        *(f"varm['perturbation_{name}']" for name in ("effect", "statistic", "padj")),
        "varm['control_mean']",
        "uns['pathway_response']",
        "uns['scperturbrl']['reference']",
    ],
    "pathway_network": ["uns['pathway_network']"],
    "fit_generator": ["uns['mine']"],
    "rl_finetune": ["uns['better']"],
    "generate": ["layers['mine']", "obs['mine_source']", "obsm['X_pca_mine']"],
    "score": ["obsm['score_mine']", "obs['mine_reward']", "uns['score_mine']"],
    "evaluate": ["uns['table']"],
    "predict": ["a new AnnData"],
    "save_generator": ["the directory"],
    "load_generator": ["uns['loaded']"],
}


@pytest.fixture
def log():
    before = sc.settings.verbosity, sc.settings._logfile
    sc.settings.verbosity, sc.settings.logfile = 3, io.StringIO()
    yield sc.settings.logfile
    sc.settings.verbosity, sc.settings._logfile = before
    sc.logging._set_log_file(sc.settings)


@pytest.fixture
def calls(tmp_path):
    small = {"n_steps": 3, "width": 16, "n_latent": 4, "n_blocks": 1}
    post = {"n_iterations": 1, "n_conditions": 2, "reward_steps": 1, "energy_steps": 0, "guard": False}
    return {
        "setup_anndata": spr.pp.setup_anndata,
        "split": spr.pp.split,
        "pathway_network": lambda adata: spr.pp.pathway_network(adata, adata.uns["pathway_network"]),
        "reference": spr.pp.reference,
        "fit_generator": lambda adata: spr.tl.fit_generator(adata, key_added="mine", **small),
        "rl_finetune": lambda adata: spr.tl.rl_finetune(adata, key="mine", key_added="better", **post),
        "generate": lambda adata: spr.tl.generate(adata, key="mine"),
        "score": lambda adata: spr.tl.score(adata, layer="mine"),
        "evaluate": lambda adata: spr.tl.evaluate(adata, keys=["mine"], n_cells=10, key_added="table"),
        "predict": lambda adata: spr.tl.predict(adata, key="mine", n_cells=2),
        "save_generator": lambda adata: spr.tl.save_generator(adata, tmp_path / "model", key="mine"),
        "load_generator": lambda adata: spr.tl.load_generator(adata, tmp_path / "model", key_added="loaded"),
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_verb_says_what_it_wrote_and_writes_what_it_says(log, calls):
    adata = spr.datasets.toy()
    assert set(calls) == set(WRITES)
    for name, call in calls.items():
        log.seek(0)
        log.truncate()
        call(adata)
        said = log.getvalue()
        assert "wrote " in said, name
        for slot in WRITES[name]:
            assert slot in said, (name, slot, said)
            if slot.startswith(("uns", "obs", "varm", "layers")):
                assert eval(f"adata.{slot}") is not None
