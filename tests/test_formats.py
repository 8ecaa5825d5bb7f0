"""Files of other formats: each is named, with a way that works."""

import gzip
import io
import pickle
import shlex
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import onnx
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.checkpoint import formats
from lunet_export.errors import CheckpointError
from lunet_export.importers import source
from tests.cli.conftest import run
from tests.test_checkpoint import saved
from tests.test_states import STATE, WEIGHTS, AsReleased


def module():
    found = AsReleased().double()
    found.load_state_dict(STATE)
    return found


def scripted(path):
    torch.jit.script(module()).save(path)


def exported(path):
    torch.export.save(torch.export.export(module(), (torch.zeros(2, 4, dtype=torch.float64),)), path)


def old(path):
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


def whole(path):
    torch.save(module(), path)


def of_lightning(path):
    """With a folder among the settings, which is no plain value."""
    torch.save({"epoch": 1, "state_dict": STATE, "hyper_parameters": {"folder": path.parent}}, path)


def with_numpy(path):
    torch.save({"model_state_dict": STATE, "loss": np.float64(1.5)}, path)


#: Formats whose weights can be had: what is told, and how a file of it is made.
ANOTHER_WAY = {
    "a TorchScript program": scripted,
    "a torch.export program": exported,
    "a file of torch 1.5 or older": old,
    "It is a whole module": whole,
    "other objects beside the network, as training loops and Lightning": of_lightning,
    "other objects beside the network": with_numpy,
}


@pytest.mark.slow  # programs of PyTorch are compiled, and the commands that are told are run
@pytest.mark.filterwarnings("ignore")  # of torch.jit, which is deprecated
@pytest.mark.parametrize("told", ANOTHER_WAY)
def test_the_command_that_is_told_makes_a_file_that_is_read(told, tmp_path):
    path = tmp_path / "my net.pt2"
    ANOTHER_WAY[told](path)
    with pytest.raises(CheckpointError, match=told) as error:
        checkpoint.read(path)
    command = shlex.split(str(error.value)[str(error.value).index("python -c") :])
    subprocess.run([sys.executable, "-W", "ignore", *command[1:]], check=True)
    read = checkpoint.read(tmp_path / "my net-state.pth")
    assert read.weights.digest() == WEIGHTS.digest()


def bytes_of(data):
    return lambda path: path.write_bytes(data)


def archive(*names):
    def make(path):
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, b"x")

    return make


def tarred(path):
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("a"))


def graph(path):
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y])), path)


def numpy_archive(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(2))


NAMED = {
    "an ONNX file. The weights in a graph are not read": graph,
    "an HDF5 file, as Keras writes": bytes_of(b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "a Keras model": archive("config.json", "metadata.json", "model.weights.h5"),
    "an archive of NumPy arrays": numpy_archive,
    "a zip archive of other files. Unpack it": archive("best.pth", "notes.txt"),
    "a NumPy array": lambda path: path.write_bytes(npy()),
    "a tar archive": tarred,
    "compressed by gzip": bytes_of(gzip.compress(b"x")),
    "a Python pickle": bytes_of(pickle.dumps({"a": 1})),
    "a Git LFS pointer, .* Run: git lfs pull": bytes_of(b"version https://git-lfs.github.com/spec/v1\noid sha256:1"),
    "a web page. Download the file itself": bytes_of(b"<!DOCTYPE html><html>"),
    "a JSON file. Give the file of the weights": bytes_of(b'{"weight_map": {}}'),
    "a TensorFlow Lite network": bytes_of(b"\x1c\0\0\0TFL3" + bytes(20)),
    "a GGUF file": bytes_of(b"GGUF" + bytes(20)),
}


def npy():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(2))
    return buffer.getvalue()


@pytest.mark.parametrize("told", NAMED)
def test_other_formats_are_named(told, tmp_path):
    NAMED[told](tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match=rf"of torch\.save or safetensors; .*model\.bin is {told}"):
        checkpoint.read(tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match=told):  # as every file of a model
        source.of_state("nflows", tmp_path / "model.bin")


def test_a_graph_of_an_exported_folder_names_the_folder(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    graph(tmp_path / "density.onnx")
    with pytest.raises(CheckpointError, match=f"commands that take an exported folder take {tmp_path}"):
        checkpoint.read(tmp_path / "density.onnx")


def test_a_file_of_torch_is_never_taken_for_another(tmp_path):
    path = saved(STATE, tmp_path / "model.onnx")
    assert formats.other(path.read_bytes(), path) is None
    assert checkpoint.read(path).weights.digest() == WEIGHTS.digest()


def test_the_command_line_says_it_in_one_line(tmp_path):
    graph(tmp_path / "net.onnx")
    code, out, err = run(tmp_path / "net.onnx", "-o", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is an ONNX file" in err
