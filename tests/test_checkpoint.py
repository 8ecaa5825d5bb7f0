"""Model files: our own, the authors' layout, and everything that is neither."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from lunet_export import ExportedFlow, checkpoint, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import CheckpointError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.layers import LU
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import Flow
from tests import tolerances
from tests.networks import network, rows


def authors_state(weights) -> OrderedDict:
    """The key layout of the released code, float64: U, then L with the bias, block by block, the last one apart."""
    state = OrderedDict()
    for number, block in enumerate(weights.of(LU)):
        last = number == len(weights.of(LU)) - 1
        upper, lower = (
            ("final_lu_block.0", "final_lu_block.1")
            if last
            else (
                f"intermediate_lu_blocks.{2 * number}",
                f"intermediate_lu_blocks.{2 * number + 1}",
            )
        )
        state[f"{upper}.weight"] = torch.from_numpy(block.upper.copy())
        state[f"{lower}.weight"] = torch.from_numpy(block.lower.copy())
        state[f"{lower}.bias"] = torch.from_numpy(block.bias.copy())
    return state


def saved(content, path):
    torch.save(content, path)
    return path


@pytest.fixture
def ours(tmp_path):
    flow = Flow.of(network(16, 3, preprocessing=NAMED["digits"]))
    examples = np.random.default_rng(0).uniform(0, 17, (4, 16))
    path = tmp_path / "model.pt"
    checkpoint.write(path, flow, image_shape=(4, 4), training={"dataset": "x", "test": 1.5}, examples=examples)
    return path


def test_our_file_is_plain_and_comes_back(ours):
    content = torch.load(ours, weights_only=True)
    assert content["format"] == "lunet_export.model"
    assert content["packed"].shape == (3, 16, 16)
    read = checkpoint.read(ours)
    assert (read.kind, read.image_shape, read.training) == ("lunet_export", (4, 4), {"dataset": "x", "test": 1.5})
    assert read.examples.shape == (4, 16)
    assert read.weights.preprocessing == NAMED["digits"]
    held, exact = read.weights.of(LU)[1].upper, network(16, 3).of(LU)[1].upper
    allowed = tolerances.of_roundings(1, exact)  # float32 holds them; of the diagonal it holds the logarithm
    diagonal = np.diag(exact)
    in_log = tolerances.of_roundings(1, diagonal * np.log(np.abs(diagonal)))
    np.fill_diagonal(allowed, in_log + tolerances.of_roundings(8, diagonal, "float64"))
    tolerances.assert_within(held, exact, allowed)
    assert tolerances.beyond(held * (1 + 2e-7), exact, allowed) > 1


def test_names_of_columns_come_back_and_are_a_key_of_their_own(tmp_path):
    """1.0.0 reads a file with this key: it passes over keys that it does not know."""
    path, names = tmp_path / "m.pt", ("mass", "Größe, m")
    known = {"image_shape": None, "training": {}, "examples": None}
    checkpoint.write(path, Flow.of(network(2, 2)), **known)
    assert ("columns" in torch.load(path, weights_only=True), checkpoint.read(path).columns) == (False, None)
    checkpoint.write_weights(path, checkpoint.read(path).weights, **known, columns=names)
    content = torch.load(path, weights_only=True)
    assert (content["columns"], content["format_version"]) == (list(names), 1)
    again = tmp_path / "again.pt"
    checkpoint.write_checkpoint(again, checkpoint.read(path))
    assert checkpoint.read(path).columns == checkpoint.read(again).columns == names


@pytest.mark.parametrize(
    "names", [["a"], ["a", "a"], ["a", ""], "ab", ["a", 1], ["a", torch.zeros(1)], {"a": 1, "b": 2}]
)
def test_names_that_are_none_are_refused(names, tmp_path):
    path = tmp_path / "m.pt"
    checkpoint.write(path, Flow.of(network(2, 2)), image_shape=None, training={}, examples=None)
    with pytest.raises(CheckpointError, match=r"columns is missing or wrong in .*m\.pt"):
        checkpoint.read(saved({**torch.load(path, weights_only=True), "columns": names}, path))


@pytest.mark.parametrize(("dim", "blocks"), [(2, 13), (6, 4), (5, 1), (30, 4)])
def test_authors_layout_exports_to_the_last_digits(dim, blocks, tmp_path):
    """Must hold: 1e-10 in float64 graphs, the derived tolerance in float32, signed diagonals, any size."""
    weights = network(dim, blocks, seed=dim, off_diagonal=0.2)
    path = saved(authors_state(weights), tmp_path / "best.pth")
    read = checkpoint.read(path)
    assert read.kind == "authors"
    assert read.weights.digest() == weights.digest()
    x, z = rows(weights, 6), noise.normal(0, range(6), dim)
    for dtype in ("float64", "float32"):
        export(read.weights, tmp_path / dtype, Provenance(dtype), ExportSettings(dtype=dtype))
        flow = ExportedFlow(tmp_path / dtype, provider="cpu")
        xs, zs = x.astype(dtype).astype(np.float64), z.astype(dtype).astype(np.float64)
        exact = [reference.encode(weights, xs)[0], reference.log_prob(weights, xs), reference.decode(weights, zs)]
        got = [*flow.density(xs), flow.decode(zs)]
        if dtype == "float64":
            bounds = [1e-10 * max(1.0, np.abs(values).max()) for values in exact]
        else:
            model = RoundingModel(weights, dtype)
            density, sampling = model.density(xs), model.sampling(zs)
            bounds = [density["z"][:, None], density["log_prob"], sampling["x"][:, None]]
        for ours, theirs, bound in zip(got, exact, bounds, strict=True):
            assert (np.abs(ours - theirs) <= bound).all()


def test_authors_many_blocks_keep_their_numeric_order(tmp_path):
    """Sorted as strings, block 10 would come before block 2."""
    weights = network(3, 13)
    shuffled = OrderedDict(sorted(authors_state(weights).items()))
    assert checkpoint.read(saved(shuffled, tmp_path / "best.pth")).weights.digest() == weights.digest()


@pytest.mark.parametrize("before", [9, 10])
def test_from_ten_blocks_before_the_last_the_released_codes_own_figure_is_told_to_be_another(before, tmp_path):
    path = saved(authors_state(network(3, before + 1)), tmp_path / "best.pth")
    told = (
        "The released mnist/ code prints another likelihood than this network's for 10 + 1 blocks: "
        "from 10 + 1 on it sorts them as text and leaves out a wrong one.",
    )
    assert checkpoint.read(path).notes == (told if before == 10 else ())


def test_latent_statistics_are_folded(tmp_path):
    weights = network(4, 3)
    mean, covariance = np.arange(4.0), np.diag([1.0, 4.0, 0.25, 2.0])
    path = saved(authors_state(weights), tmp_path / "best.pth")
    stats = {"latent_mean": torch.from_numpy(mean), "latent_covariance": torch.from_numpy(covariance)}
    read = checkpoint.read(path, latent_stats=saved(stats, tmp_path / "best_stats.pth"))
    assert read.weights.digest() == weights.fold_latent(mean, covariance).digest()


def test_parameters_that_require_gradients_are_read(tmp_path):
    state = {name: torch.nn.Parameter(value) for name, value in authors_state(network(4, 2)).items()}
    assert checkpoint.read(saved(state, tmp_path / "best.pth")).weights.digest() == network(4, 2).digest()


def test_authors_preprocessing_is_what_the_caller_says(tmp_path):
    path = saved(authors_state(network(16, 2)), tmp_path / "best.pth")
    assert checkpoint.read(path).weights.preprocessing is None
    read = checkpoint.read(path, preprocessing=NAMED["paper"])
    assert (read.weights.preprocessing.levels, read.image_shape) == (256, (4, 4))


def test_authors_inverse_is_refused_with_the_reason(tmp_path):
    state = {"lu_layers.0.weight": torch.eye(2), "lu_layers.0.bias": torch.zeros(2), "lu_layers.1.weight": torch.eye(2)}
    with pytest.raises(CheckpointError, match=r"best_inverse.pth.*last epoch.*Export best.pth"):
        checkpoint.read(saved(state, tmp_path / "best_inverse.pth"))


def test_statistics_given_as_model_are_recognised(tmp_path):
    stats = {"latent_mean": torch.zeros(2), "latent_covariance": torch.eye(2)}
    with pytest.raises(CheckpointError, match=r"last epoch\x27s network. Give last\.pth with `latent_stats="):
        checkpoint.read(saved(stats, tmp_path / "best_stats.pth"))


def damaged_authors(edit):
    def make(path):
        state = authors_state(network(4, 2))
        edit(state)
        return saved(state, path)

    return make


def damaged_ours(edit):
    def make(path):
        flow = Flow.of(network(4, 2))
        checkpoint.write(path, flow, image_shape=None, training={}, examples=None)
        content = torch.load(path, weights_only=True)
        edit(content)
        return saved(content, path)

    return make


class Code:
    def __reduce__(self):
        return (print, ("owned",))


def write_bytes(data):
    def make(path):
        path.write_bytes(data)
        return path

    return make


def truncated(path):
    data = saved(authors_state(network(20, 2)), path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


BAD = {
    "missing": (lambda path: path, "does not exist"),
    "empty": (write_bytes(b""), "is empty"),
    "truncated": (truncated, "truncated, damaged or another format"),
    "text": (write_bytes(b"hello"), "truncated, damaged or another format"),
    "pickled code": (lambda path: saved({"x": Code()}, path), r"asks to run code \(.*print\), which is refused"),
    "raw pickle of code": (write_bytes(pickle.dumps(Code())), "Expected"),
    "a tensor": (lambda path: saved(torch.zeros(3), path), "Expected a dictionary"),
    "a whole module": (lambda path: saved(torch.nn.Linear(2, 2), path), "asks to run code"),
    "other keys": (lambda path: saved({"conv.weight": torch.zeros(3)}, path), "neither"),
    "zero on a diagonal": (
        damaged_authors(lambda s: s["final_lu_block.0.weight"].fill_diagonal_(0)),
        "non-zero diagonal in U of block 2 of 2",
    ),
    "NaN on a diagonal": (
        damaged_authors(lambda s: s["intermediate_lu_blocks.0.weight"][2, 2].fill_(float("nan"))),
        r"finite numbers in U of block 1 of 2; got nan at \[2, 2\]",
    ),
    "not triangular": (
        damaged_authors(lambda s: s["final_lu_block.0.weight"][3, 0].fill_(1.0)),
        "L lower and U upper triangular",
    ),
    "integers": (
        damaged_authors(lambda s: s.update({"final_lu_block.1.bias": torch.zeros(4, dtype=torch.int64)})),
        "dense tensor of floats at final_lu_block.1.bias",
    ),
    "a missing block": (damaged_authors(lambda s: s.pop("final_lu_block.1.bias")), "final_lu_block.1.bias"),
    "another width": (
        damaged_authors(lambda s: s.update({"final_lu_block.1.bias": torch.zeros(5, dtype=torch.float64)})),
        "Every block must have the width of the first",
    ),
    "a single number": (
        damaged_authors(lambda s: s.update({"final_lu_block.1.bias": torch.zeros((), dtype=torch.float64)})),
        "got a single number",
    ),
    "a meta tensor": (
        damaged_authors(lambda s: s.update({"final_lu_block.1.bias": torch.zeros(4, device="meta")})),
        "holds 0 bytes",
    ),
    "a view of one number": (
        damaged_authors(lambda s: s.update({"final_lu_block.0.weight": torch.zeros(1).expand(10**6, 10**6)})),
        r"claims \(1000000, 1000000\) and holds",
    ),
    "no dimensions": (
        damaged_authors(lambda s: s.update({"final_lu_block.1.bias": torch.zeros(0)})),
        r"claims \(0,\)",
    ),
    "ours, integers": (damaged_ours(lambda c: c.update(packed=c["packed"].long())), "packed tensors of floats"),
    "ours, newer": (damaged_ours(lambda c: c.update(format_version=5)), "Expected format version 1, 2, 3 or 4"),
    "ours, without settings": (damaged_ours(lambda c: c.pop("settings")), "'settings' is missing or wrong"),
    "ours, wrong shape": (damaged_ours(lambda c: c.update(sign=torch.ones(2, 5))), "Expected tensors of shapes"),
    "ours, infinite": (damaged_ours(lambda c: c["bias"].fill_(float("inf"))), "finite numbers in bias of block 1"),
    "ours, overflowing diagonal": (damaged_ours(lambda c: c["packed"].fill_(1e4)), "finite numbers in U of block 1"),
    "ours, zero sign": (damaged_ours(lambda c: c["sign"].zero_()), "non-zero diagonal in U"),
    "ours, bad levels": (damaged_ours(lambda c: c.update(preprocessing={"levels": 0, "margin": 0.1})), "grey levels"),
}


@pytest.mark.parametrize(("make", "sentence"), BAD.values(), ids=BAD)
def test_bad_files_get_a_sentence(make, sentence, tmp_path, capsys):
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.read(make(tmp_path / "model.pt"))
    assert "owned" not in capsys.readouterr().out


def test_our_files_take_no_other_preprocessing(ours):
    with pytest.raises(CheckpointError, match="records its own"):
        checkpoint.read(ours, preprocessing=NAMED["paper"])


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda c: c.update(examples=torch.zeros(1).expand(2**30, 4)), "claims"),
        (lambda c: c.update(examples=torch.full((2, 4), float("nan"))), "examples"),
        (lambda c: c.update(examples=torch.zeros(4, 2)), "examples"),
        (lambda c: c.update(examples=torch.zeros(2, 4, dtype=torch.complex64)), "examples"),
        (lambda c: c.update(training={"rows": torch.zeros(2)}), "not JSON serializable"),
        (lambda c: c.update(training={"valid": float("nan")}), "JSON"),
        (lambda c: c.update(training=[1]), "training"),
        (lambda c: c["settings"].update(image_shape=[3, 3]), "image_shape"),
        (lambda c: c["settings"].update(image_shape=["2", "2"]), "image_shape"),
        (lambda c: c["settings"].update(image_shape=[float("inf"), 2]), "image_shape"),
        (lambda c: c.update(sign=c["sign"] + 1j), "sign tensors of floats"),
        (lambda c: c.update(format_version=1 << 200), "got 160693"),
        (lambda c: c.update(family=["lunet"]), "Expected a model of"),
    ],
)
def test_what_a_file_says_beside_its_tensors_is_checked(edit, told, tmp_path):
    """Rows that are not there, numbers cut off and values that no manifest can hold were taken without a word."""
    with pytest.raises(CheckpointError, match=told):
        checkpoint.read(damaged_ours(edit)(tmp_path / "model.pt"))


def test_a_folder_is_called_one_and_an_export_is_known(tmp_path, exported):
    with pytest.raises(CheckpointError, match=r"is a folder\. Give the file that it was exported from\."):
        checkpoint.read(exported.folder)
    with pytest.raises(CheckpointError, match=r"is a folder\. Give the file in it, or another\."):
        checkpoint.read(tmp_path)


def test_a_resume_file_names_its_model(tmp_path):
    state = {"model": {"dim": 2}, "settings": {}, "flow": {"x": torch.ones(2)}}
    with pytest.raises(CheckpointError, match=r"is a resume file, .* Give .*/m\.pt beside it"):
        checkpoint.read(saved(state, tmp_path / "m.resume.pt"))


def test_another_file_is_sent_to_no_page_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"keys of .* are neither .*Import .* with: lunet-export import"):
        checkpoint.read(saved({"x": torch.ones(2)}, tmp_path / "m.pt"))
