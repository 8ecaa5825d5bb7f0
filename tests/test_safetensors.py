"""Files of safetensors: states of other code, and our own models with all that is known of them."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors

import lunet_export
from lunet_export import checkpoint
from lunet_export.checkpoint import safetensors_file
from lunet_export.errors import BadInputError, CheckpointError, MissingPackageError
from lunet_export.importers import source
from tests.cli.conftest import run
from tests.families import composed, jko, realnvp
from tests.importers.peers import nflows_lu, package
from tests.networks import mixture, network
from tests.test_states import STATE, WEIGHTS, behind


def written(tensors, path, metadata=None):
    safetensors.save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata)
    return path


def test_keys_of_the_released_code_are_read(tmp_path):
    path = written(STATE, tmp_path / "best.safetensors", {"format": "pt", "epoch": "3"})
    assert checkpoint.read(path).weights.digest() == WEIGHTS.digest()
    wrapped = written(behind("module."), tmp_path / "wrapped.safetensors")
    assert checkpoint.read(wrapped).notes == (
        "The network in wrapped.safetensors was taken without module. before its keys.",
    )


def test_statistics_beside_their_network_are_read(tmp_path):
    stats = {"latent_mean": torch.ones(4), "latent_covariance": torch.eye(4) * 2}
    path = written(STATE, tmp_path / "last.safetensors")
    found = checkpoint.read(path, latent_stats=written(stats, tmp_path / "best_stats.safetensors"))
    assert found.weights.digest() == WEIGHTS.fold_latent(np.ones(4), 2 * np.eye(4)).digest()
    assert found.assumed == ()  # last.safetensors shows that they are its own


def test_a_state_of_another_library_is_read(tmp_path):
    package("nflows")
    flow = nflows_lu(3)
    path = written(behind("flow.", flow.state_dict()), tmp_path / "state.safetensors")
    filled = source.filled(nflows_lu(3), path)
    assert all(torch.equal(value, filled.state_dict()[key]) for key, value in flow.state_dict().items())


OURS = {
    "LU-Net": network(6, 3),
    "RealNVP": realnvp.convolutional(4, 2),
    "JKO-iFlow": jko.flow(3, (4, 5), blocks=2, steps=2),
    "composed": composed.NETWORKS["couplings"](),
    "mixture": mixture(3, 2),
}


@pytest.mark.parametrize("name", OURS)
def test_our_own_models_come_back_as_of_torch_save(name, tmp_path):
    models = [lunet_export.save(OURS[name], tmp_path / f"m{suffix}") for suffix in (".pt", ".safetensors")]
    digests = [model.distribution.digest() for model in models]
    assert digests[0] == digests[1]
    contents = [checkpoint.load(tmp_path / f"m{suffix}") for suffix in (".pt", ".safetensors")]
    assert repr(contents[0]) == repr(contents[1])


def test_everything_that_is_known_of_a_model_comes_back(tmp_path):
    examples = np.random.default_rng(0).uniform(0, 1, (4, 6))
    training = {"dataset": "x", "test": 1.5, "names": ["ü"], "none": None}
    path = tmp_path / "m.safetensors"
    checkpoint.write_weights(path, network(6, 2), image_shape=(2, 3), training=training, examples=examples)
    read = checkpoint.read(path)
    assert (read.training, read.image_shape, read.kind) == (training, (2, 3), "lunet_export")
    assert read.examples.tolist() == examples.astype(np.float32).tolist()
    assert checkpoint.read(path).weights.digest() == network(6, 2).digest()


def test_commands_take_and_write_them(tmp_path):
    model = tmp_path / "m.safetensors"
    lunet_export.save(network(6, 2), model)
    assert run(model, "-o", tmp_path / "out")[0] == 0
    assert run("check", tmp_path / "out", "--model", model)[0] == 0
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).standard_normal((100, 6)))
    code, _, err = run("recalibrate", model, tmp_path / "rows.npy", "-o", tmp_path / "new.safetensors")
    assert code == 0, err
    assert "recalibrated" in checkpoint.read(tmp_path / "new.safetensors").training


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def ours(text):
    return with_header({"__metadata__": {"lunet_export.model": text}})


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BAD = {
    "cut short": lambda data: data[:-3],
    "cut in the header": lambda data: data[:20],
    "empty header": lambda data: with_header({}),
    "more than there is": lambda data: with_header(
        {"x": F32 | {"shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(8)
    ),
    "a shape that overflows": lambda data: with_header({"x": F32 | {"shape": [2**62, 2**62]}}, bytes(8)),
    "a size that is none": lambda data: with_header({"x": F32 | {"shape": [-2]}}, bytes(8)),
    "overlapping": lambda data: with_header({"x": F32, "y": F32}, bytes(8)),
    "another dtype": lambda data: with_header({"x": F32 | {"dtype": "F99"}}, bytes(8)),
    "no JSON": lambda data: with_header(b"{nothing"),
    "a longer header than file": lambda data: struct.pack("<Q", 2**60) + b"{}" + bytes(30),
    "ours, no JSON": lambda data: ours("{"),
    "ours, a list": lambda data: ours("[]"),
    "ours, deep": lambda data: ours("[" * 10**5 + "]" * 10**5),
    "ours, a tensor that is not there": lambda data: ours('{"format": {"tensor": "x"}}'),
    "ours, a tensor named by a list": lambda data: ours('{"format": {"tensor": []}}'),
    "ours, no model": lambda data: ours('{"format": "lunet_export.model"}'),
    "ours, a number of no float": lambda data: ours('{"format": NaN}'),
    "ours, a tensor again and again": lambda data: with_header(
        {
            "__metadata__": {"lunet_export.model": '{"a": [' + ", ".join(['{"tensor": "x"}'] * 10**5) + "]}"},
            "x": F32 | {"shape": [1000], "data_offsets": [0, 4000]},
        },
        bytes(4000),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_gets_a_sentence(name, tmp_path):
    path = written(STATE, tmp_path / "m.safetensors")
    path.write_bytes(BAD[name](path.read_bytes()))
    with pytest.raises(CheckpointError, match="Expected"):
        checkpoint.read(path)


def test_the_name_of_a_file_says_what_was_expected(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"hello")
    with pytest.raises(CheckpointError, match=r"Expected a file of safetensors; .* is truncated or damaged"):
        checkpoint.read(tmp_path / "m.safetensors")


def test_without_the_library_it_is_named(tmp_path, monkeypatch):
    path = written(STATE, tmp_path / "m.bin")
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(MissingPackageError, match="pip install safetensors"):
        checkpoint.read(path)
    with pytest.raises(MissingPackageError, match="pip install safetensors"):
        lunet_export.save(network(3, 2), tmp_path / "n.safetensors")
    assert not (tmp_path / "n.safetensors").exists()


def test_a_header_whose_length_looks_like_json_is_no_json(tmp_path):
    """The first byte of a file is one of a number, and may be that of `{`."""
    for padding in range(256):
        data = safetensors.save(dict(STATE), {"p": "x" * padding})
        if data[:1] == b"{":
            break
    assert safetensors_file.is_one(data)
    (tmp_path / "m.bin").write_bytes(data)
    assert checkpoint.read(tmp_path / "m.bin").weights.digest() == WEIGHTS.digest()


def test_training_writes_torch_files_alone(tmp_path):
    code, _, err = run("train", "two-moons", "-o", tmp_path / "m.safetensors", "--epochs", 1)
    assert (code, "ends in .pt" in err) == (2, True)
    with pytest.raises(BadInputError, match=r"ends in \.pt or \.safetensors"):
        lunet_export.save(network(3, 2), tmp_path / "m.bin")
