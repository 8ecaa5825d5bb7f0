"""Files of torch.save: what they claim is checked before it is made, and what was written is what is read."""

import io
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch

from lunet_export import checkpoint
from lunet_export.errors import CheckpointError


def saved(content, path, **options):
    torch.save(content, path, **options)
    return path


def entries(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files, path, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
)
DTYPES += (torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.uint16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_come_back_as_they_were(dtype, tmp_path):
    whole = torch.arange(12).to(torch.float32).reshape(3, 4).to(dtype)
    content = {"whole": whole, "turned": whole.t(), "part": whole[1:, ::2], "one": whole[0, 0], "none": whole[:0]}
    read = checkpoint.load(saved(content, tmp_path / "m.pt"))
    for name, value in content.items():
        assert read[name].dtype == dtype
        assert read[name].shape == value.shape
        assert torch.equal(read[name].to(torch.complex128), value.to(torch.complex128))


def test_plain_values_and_modules_states_come_back(tmp_path):
    linear = torch.nn.Linear(2, 3)
    content = {"state": linear.state_dict(), "list": [1, 2.5, "ü", None, True], "tuple": (1, (2,)), "large": 2**127}
    content |= {"parameter": linear.weight, "size": torch.zeros(2, 3).shape, "empty": OrderedDict(), 5: 1}
    read = checkpoint.load(saved(content, tmp_path / "m.pt"))
    assert read["list"] == content["list"]
    assert (read["tuple"], read["large"], tuple(read["size"])) == ((1, (2,)), 2**127, (2, 3))
    assert torch.equal(read["state"]["weight"], linear.weight)
    assert torch.equal(read["parameter"], linear.weight)


def flipped(path):
    """A bit of the numbers, which torch.load does not look at."""
    data = bytearray(path.read_bytes())
    place = data.index(torch.full((8,), 1.25).numpy().tobytes())
    data[place + 2] ^= 1
    path.write_bytes(bytes(data))
    return path


def test_a_flipped_bit_of_the_numbers_is_noticed(tmp_path):
    path = flipped(saved({"x": torch.full((8,), 1.25)}, tmp_path / "m.pt"))
    assert not torch.equal(torch.load(path, weights_only=True)["x"], torch.full((8,), 1.25))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def claiming(path, *, count):
    """The tensor of a file claims more numbers than its storage has: torch grows it by numbers from nowhere."""
    files = entries(path)
    (name,) = (name for name in files if name.endswith("data.pkl"))
    old = pickle.dumps(8, protocol=2)[2:-1] + b"\x85"  # the size (8,)
    assert files[name].count(old) == 1
    files[name] = files[name].replace(old, pickle.dumps(count, protocol=2)[2:-1] + b"\x85")
    return zipped(files, path)


def test_a_tensor_holds_what_its_record_holds(tmp_path):
    path = claiming(saved({"x": torch.full((8,), 1.25)}, tmp_path / "m.pt"), count=2**35)
    with pytest.raises(CheckpointError, match=r"claims \(34359738368,\) and holds 32 bytes"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call(bytearray, 2**40), "bytearray"),
        (Call(torch.Tensor, 2**40), "torch.*Tensor"),
        (Call(torch.FloatTensor, 2**40), "FloatTensor"),
        (Call(input, "owned"), "input"),  # not print, which Ray replaces for good in a process that it was started in
        (Call(exec, "raise SystemExit"), "exec"),
    ],
)
def test_what_reserves_or_runs_anything_is_refused(call, name, tmp_path, capsys):
    with pytest.raises(CheckpointError, match=rf"asks to run code \(.*{name}\)"):
        checkpoint.load(saved({"x": call}, tmp_path / "m.pt"))
    assert capsys.readouterr().out == ""


def test_packed_records_are_refused(tmp_path):
    path = saved({"x": torch.zeros(10**6)}, tmp_path / "m.pt")
    packed = zipped(entries(path), tmp_path / "packed.pt", zipfile.ZIP_DEFLATED)
    assert packed.stat().st_size < path.stat().st_size / 100
    with pytest.raises(CheckpointError, match="records are packed"):
        checkpoint.load(packed)


@pytest.mark.parametrize("attributes", [0x10, 0xFFFFFFFF])
def test_records_that_are_marked_as_folders_are_refused(tmp_path, attributes):
    """PyTorch would read nothing of one, and give what memory held."""
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries(saved({"x": torch.ones(1000)}, tmp_path / "good.pt")).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes if name.endswith("/data/0") else 0
            archive.writestr(info, data)
    with pytest.raises(CheckpointError, match="a record is marked as a folder"):
        checkpoint.load(path)


def test_empty_folders_of_an_archive_that_was_packed_again_are_left_alone(tmp_path):
    files = entries(saved({"x": torch.ones(10)}, tmp_path / "good.pt"))
    folder = next(iter(files)).partition("/")[0]
    again = zipped({f"{folder}/": b"", f"{folder}/data/": b"", **files}, tmp_path / "m.pt")
    assert (checkpoint.load(again)["x"] == 1).all()


def test_values_that_are_named_again_and_again_are_refused(tmp_path):
    value = [0.0]
    for _ in range(40):
        value = [value, value]
    circle = []
    circle.append(circle)
    tensor = torch.zeros(2**16)
    for content in ({"x": value}, {"x": circle}, {"x": [[tensor] * 900, [tensor] * 900]}):
        with pytest.raises(CheckpointError, match=r"repeated without end|deep"):
            checkpoint.load(saved(content, tmp_path / "m.pt"))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: saved({"x": torch.zeros(2)}, path, _use_new_zipfile_serialization=False), "torch 1.5 or older"),
        (lambda path: saved({"x": "long" * 2000}, path), "a text has 8000 characters"),
        (lambda path: saved({"x": 1 << 300}, path), "there is a int"),
        (lambda path: saved({"x": "\ud800"}, path), "damaged or another format"),
        (lambda path: saved({"x": {1, 2}}, path), "asks to run code"),
        (lambda path: saved({"x": torch.zeros(*[1] * 20)}, path), "a tensor has 20 axes"),
        (lambda path: zipped({"a/data.pkl": pickle.dumps({"x": bytearray(9)}, 5)}, path), "damaged or another format"),
        (lambda path: zipped({"a/data.pkl": b"\x80\x02r\xff\xff\xff\x7f."}, path), "damaged or another format"),
        (lambda path: zipped({"a/data.pkl": pickle.dumps({}, 2), "b/data.pkl": b""}, path), "there twice"),
        (lambda path: zipped({"a/data.pkl": pickle.dumps({}, 2), "a/byteorder": b"big"}, path), "big-endian"),
    ],
)
def test_other_files_get_a_sentence(make, sentence, tmp_path):
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.load(make(tmp_path / "m.pt"))


def test_truth_values_are_true_or_false(tmp_path):
    path = saved({"x": torch.tensor([True, False, True])}, tmp_path / "m.pt")
    files = {name: b"\x02\x00\x01" if name.endswith("data/0") else data for name, data in entries(path).items()}
    with pytest.raises(CheckpointError, match="a boolean is neither true nor false"):
        checkpoint.load(zipped(files, path))


def test_a_pickle_sets_no_attributes(tmp_path):
    """BUILD on what a name stands for would change it for the next file."""
    out = io.BytesIO()
    out.write(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(zipped({"a/data.pkl": out.getvalue()}, tmp_path / "m.pt"))
