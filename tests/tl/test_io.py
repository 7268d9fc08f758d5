from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

import scperturbrl as spr


@pytest.fixture
def saved(fitted, tmp_path):
    spr.tl.save_generator(fitted, tmp_path / "model")
    return tmp_path / "model"


def test_a_directory_brings_back_the_same_generator(fitted, saved):
    spr.tl.load_generator(fitted, saved, key_added="loaded")
    one, other = fitted.uns["generator"], fitted.uns["loaded"]
    assert one["weights"].keys() == other["weights"].keys()
    assert all(np.array_equal(one["weights"][name], other["weights"][name]) for name in one["weights"])
    history = [record["history"].reset_index(drop=True) for record in (one, other)]
    pd.testing.assert_frame_equal(*history, check_dtype=False, check_index_type=False)
    pd.testing.assert_frame_equal(
        one["conditions"], other["conditions"], check_dtype=False, check_names=False, check_index_type=False
    )
    for key in ("generator", "loaded"):
        spr.tl.generate(fitted, key=key)
    assert (fitted.layers["generator"] != fitted.layers["loaded"]).nnz == 0


def test_a_post_trained_one_too(fitted, tmp_path):
    spr.tl.rl_finetune(fitted, n_iterations=1, n_conditions=2, group_size=2)
    spr.tl.save_generator(fitted, tmp_path / "rl", key="generator_rl")
    spr.tl.load_generator(fitted, tmp_path / "rl", key_added="again")
    one, other = (fitted.uns[key]["params"] for key in ("generator_rl", "again"))
    assert other["parent"] == "generator"
    assert set(one) == set(other)
    table = spr.tl.evaluate(fitted, keys=["again"], n_cells=20)
    assert "rewarded" in set(table["role"])


def test_files_are_plain(saved):
    names = {file.name for file in saved.iterdir()}
    assert names >= {"conditions.csv", "config.json", "history.csv", "model.safetensors"}
    assert {name.rsplit(".")[-1] for name in names} <= {"csv", "json", "safetensors", "txt"}
    assert json.loads((saved / "config.json").read_text())["schema"] == 1


def test_nothing_is_overwritten_unless_asked_for(fitted, saved):
    with pytest.raises(FileExistsError, match=r"model exists.*overwrite=True"):
        spr.tl.save_generator(fitted, saved)
    spr.tl.save_generator(fitted, saved, overwrite=True)


def test_a_failed_save_leaves_nothing(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr("json.dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        spr.tl.save_generator(fitted, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def signed(folder):
    """Make the checksums fit, as somebody who edits a file on purpose would."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "sha256sums.txt")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "sha256sums.txt").write_text("".join(sums))


def test_where_it_comes_from_is_written_down(fitted, tmp_path):
    spr.tl.rl_finetune(fitted, n_iterations=1, n_conditions=2, group_size=2, verifiers=["pearson_topk"], guard=False)
    spr.tl.save_generator(fitted, tmp_path / "rl", key="generator_rl")
    config = json.loads((tmp_path / "rl" / "config.json").read_text())
    params = config["params"]
    assert config["space"]["genes"] == fitted.var_names.tolist()
    assert params["gene_hash"] == fitted.uns["scperturbrl"]["setup"]["gene_hash"]
    assert params["split_hash"] == fitted.uns["scperturbrl"]["split"]["hash"]
    assert params["log_state"] == "log1p"
    assert list(params["verifiers"]) == ["pearson_topk"]
    assert set(params["versions"]) >= {"scperturbrl", "anndata", "torch", "numpy"}
    spr.tl.fit_generator(fitted, init_from="generator_rl", key_added="next", n_steps=1, batch_size=8)
    spr.tl.fit_generator(fitted, init_from="generator", key_added="other", n_steps=1, batch_size=8)
    hashes = [fitted.uns[key]["params"]["parent_hash"] for key in ("generator_rl", "next", "other")]
    assert hashes[0] == hashes[2] != hashes[1]
    assert fitted.uns["generator"]["params"]["parent_hash"] == ""


def test_another_split_is_told(fitted, saved):
    spr.pp.split(fitted, seed=5, fraction=0.6)
    with pytest.warns(UserWarning, match=r"trained on another split.*Do not evaluate"):
        spr.tl.load_generator(fitted, saved)


def places(value, path=()):
    """Every place in a configuration, as a path of keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


@pytest.mark.parametrize("change", ["remove", None, -1, "text", [], {}, 1e300, [[1], "a"]])
def test_an_edited_configuration_is_refused_clearly_or_does_no_harm(fitted, saved, change):
    original = (saved / "config.json").read_text()
    found = [
        p
        for p in places(json.loads(original))
        if p[0] in {"space", "dtypes"} or p in {("params",), ("fitted",), ("schema",)}
    ]
    tried = [p for p in found if not (len(p) > 2 and isinstance(p[-1], int) and p[-1] > 1)]
    assert len(tried) > 20
    for path in tried:
        config = json.loads(original)
        *way, last = path
        parent = config
        for key in way:
            parent = parent[key]
        if change == "remove":
            del parent[last]
        else:
            parent[last] = change
        (saved / "config.json").write_text(json.dumps(config))
        signed(saved)
        try:
            spr.tl.load_generator(fitted, saved, key_added="loaded")
        except spr.tl.DamagedFileError as error:
            assert error.path.name in {"config.json", "model.safetensors", "history.csv", "conditions.csv"}  # noqa: PT017
            assert str(error.path) in str(error), (path, change)  # noqa: PT017
            assert error.field in str(error), (path, change)  # noqa: PT017
        fitted.uns.pop("loaded", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_genes": 10**9}, "n_genes = 1000000000"),
        ({"width": 2**40}, "`?width`? = "),
        ({"width": 10**4}, "shape"),
        ({"n_blocks": 10**6}, "n_blocks = 1000000; a whole number from 0 to 1000"),
        ({"n_covariate_values": [2**31]}, "n_covariate_values = "),
        ({"solver_steps": 2**31 - 1}, "solver_steps = "),
        ({"solver_steps": 0}, "solver_steps = 0; a whole number from 1"),
        ({"total": float("inf")}, "total = inf"),
        ({"total": -1.0}, r"total = -1\.0"),
        ({"n_latent": "many"}, "n_latent = 'many'"),
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_taken(fitted, saved, change, message):
    config = json.loads((saved / "config.json").read_text())
    config["space"]["architecture"] |= change
    (saved / "config.json").write_text(json.dumps(config))
    signed(saved)
    with pytest.raises(spr.tl.DamagedFileError, match=message):
        spr.tl.load_generator(fitted, saved, key_added="loaded")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("tokens", lambda names: names[:-1]),
        ("tokens", lambda names: [*names, "more"]),
        ("tokens", lambda names: [names[1], *names[1:]]),
        ("groups", lambda names: [*names, "more"]),
    ],
)
def test_names_without_a_place_are_refused(fitted, saved, field, change):
    config = json.loads((saved / "config.json").read_text())
    config["space"]["vocabulary"][field] = change(config["space"]["vocabulary"][field])
    (saved / "config.json").write_text(json.dumps(config))
    signed(saved)
    with pytest.raises(spr.tl.DamagedFileError, match=rf"model/config\.json is damaged.*field 'space': The .*{field}"):
        spr.tl.load_generator(fitted, saved, key_added="loaded")


def test_numbers_that_mean_nothing_are_refused(fitted, saved):
    weights = load_file(saved / "model.safetensors")
    weights["observation.log_theta"][0] = -1e30
    save_file(weights, saved / "model.safetensors")
    signed(saved)
    with pytest.raises(
        spr.tl.DamagedFileError,
        match=r"field 'observation\.log_theta'.*'observation\.log_theta' goes up to 1e\+30 in size",
    ):
        spr.tl.load_generator(fitted, saved, key_added="loaded")
    fitted.uns["generator"]["weights"]["observation.intercept"][0] = 3e38
    fitted.uns["generator"]["weights"]["observation.loading"][:, 0] = 3e38
    fitted.uns["generator"]["weights"]["observation.max_log_rate"][:] = np.inf
    with pytest.raises(FloatingPointError, match="rates that are not finite"):
        spr.tl.predict(fitted, n_cells=4)


def test_the_header_is_looked_at_before_the_weights_are_read(fitted, saved):
    with (saved / "model.safetensors").open("r+b") as file:
        # takes no room on the disk, and would take all of the memory
        file.truncate(60 * 2**30)
    with pytest.raises(
        ValueError, match=r"model\.safetensors is damaged.*field 'header': it does not fit the 64,424,509,440 bytes"
    ):
        spr.tl.load_generator(fitted, saved, key_added="loaded")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_weights_of_another_type_are_named(fitted, saved, dtype):
    weights = load_file(saved / "model.safetensors")
    weights["space.mean"] = weights["space.mean"].astype(dtype)
    save_file(weights, saved / "model.safetensors")
    signed(saved)
    with pytest.raises(
        spr.tl.DamagedFileError,
        match=rf"model\.safetensors is damaged.*'space\.mean' has type {np.dtype(dtype)}; expected float32",
    ):
        spr.tl.load_generator(fitted, saved, key_added="loaded")


@pytest.mark.parametrize("n", [60, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "history.csv"])
def test_any_cut_and_any_flipped_bit_is_refused(fitted, saved, name, n):
    content, rng = (saved / name).read_bytes(), np.random.default_rng(0)
    for position in rng.integers(len(content), size=n).tolist():
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(rng.integers(8))
        for bad in (bytes(flipped), content[:position]):
            (saved / name).write_bytes(bad)
            with pytest.raises(spr.tl.DamagedFileError, match=name):
                spr.tl.load_generator(fitted, saved, key_added="loaded")
    assert "loaded" not in fitted.uns


def spoil_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["space.mean"][0] = np.nan
    save_file(weights, folder / "model.safetensors")


def spoil_schema(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"schema": 99}))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda folder: (folder / "history.csv").unlink(), FileNotFoundError, r"no file history\.csv"),
        (lambda folder: (folder / "config.json").write_text("{"), spr.tl.DamagedFileError, "damaged"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"1234"), spr.tl.DamagedFileError, "damaged"),
        (spoil_weight, spr.tl.DamagedFileError, "damaged|not finite"),
        (spoil_schema, spr.tl.DamagedFileError, "damaged|schema 99"),
    ],
)
def test_damaged_directories_are_refused(fitted, saved, spoil, error, message):
    spoil(saved)
    with pytest.raises(error, match=message):
        spr.tl.load_generator(fitted, saved, key_added="loaded")
    assert "loaded" not in fitted.uns


def test_other_genes_and_keys_are_refused(fitted, saved, tmp_path):
    with pytest.raises(ValueError, match="in another order"):
        spr.tl.load_generator(fitted[:, ::-1].copy(), saved)
    with pytest.raises(KeyError, match=r"no generator 'genrator'.*'generator'"):
        spr.tl.save_generator(fitted, tmp_path / "other", key="genrator")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        spr.tl.load_generator(fitted, tmp_path / "nowhere")


def spoil_text(name, change):
    def spoil(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return spoil


def shifted_weights(content):
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")
    header[first]["dtype"] = "F33"
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


DAMAGE = {
    "no table": ("history.csv", lambda content: b"", ""),
    "another encoding": ("history.csv", lambda content: b"\xff\xfe" + content, ""),
    "a NUL": ("conditions.csv", lambda content: content + b"\x00,1\n", ""),
    "a row too short": ("conditions.csv", lambda content: content + b"x\n", ""),
    "a word for a number": ("conditions.csv", lambda content: content + b"x" + b",y" * 20 + b"\n", "dose"),
    "a field without end": ("history.csv", lambda content: content + b'"' + b"x" * 200_000, ""),
    "a number too large": (
        "conditions.csv",
        lambda content: content.replace(b",30,", b"," + b"9" * 30 + b",", 1),
        "n_cells",
    ),
    "a column less": ("conditions.csv", lambda content: content.replace(b"n_parts", b"parts", 1), "parts"),
    "deep JSON": ("config.json", lambda content: b"[" * 100_000, ""),
    "a type of numbers that there is not": ("model.safetensors", shifted_weights, ""),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_kind_of_damage_is_one_error_that_names_file_and_field(fitted, saved, kind):
    name, change, field = DAMAGE[kind]
    spoil_text(name, change)(saved)
    signed(saved)
    for call in (spr.tl.load_generator, lambda adata, path: spr.tl.predict_elsewhere(adata, path, perturbations="A")):
        with pytest.raises(spr.tl.DamagedFileError) as error:
            call(fitted, saved)
        assert error.value.path == saved / name
        assert str(saved / name) in str(error.value)
        assert field in error.value.field


def test_an_edited_file_is_named_by_its_checksum(fitted, saved):
    (saved / "conditions.csv").write_bytes((saved / "conditions.csv").read_bytes() + b" ")
    with pytest.raises(spr.tl.DamagedFileError, match=r"conditions\.csv is damaged.*its checksum"):
        spr.tl.load_generator(fitted, saved)


def test_gene_names_that_were_edited_are_noticed(fitted, saved):
    config = json.loads((saved / "config.json").read_text())
    config["space"]["genes"][0] = "OTHER"
    (saved / "config.json").write_text(json.dumps(config))
    signed(saved)
    with pytest.raises(spr.tl.DamagedFileError, match=r"field 'params\.gene_hash'"):
        spr.tl.load_generator(fitted, saved)
