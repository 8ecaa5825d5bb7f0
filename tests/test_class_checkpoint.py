"""Model files with one network per class: plain, whole, and nothing that pretends to be one."""

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.errors import CheckpointError
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.lu_linear import LULinear
from tests.networks import CLASS_NAMES, PRIORS, mixture, network
from tests.test_checkpoint import Code, authors_state, saved


@pytest.fixture
def members(tmp_path):
    """The files of three classes."""
    paths = [tmp_path / f"{number}.pt" for number in range(3)]
    weights = mixture(16, 2, preprocessing=NAMED["digits"])
    for number, (path, member) in enumerate(zip(paths, weights.components, strict=True)):
        flow = Flow.of(member)
        examples = np.full((4, 16), float(number))
        checkpoint.write(path, flow, image_shape=(4, 4), training={"class": number}, examples=examples)
    return paths


@pytest.fixture
def model(members, tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write_classes(path, members, names=CLASS_NAMES, priors=PRIORS, training={"accuracy": 0.5})
    return path


def test_the_file_is_plain_and_comes_back(model, members):
    content = torch.load(model, weights_only=True)
    assert (content["format"], content["format_version"]) == ("lunet_export.classes", 1)
    assert content["networks"][0]["packed"].dtype == torch.float32  # as it was trained, not widened
    read = checkpoint.read(model)
    assert (read.mixture.names, read.mixture.priors) == (CLASS_NAMES, PRIORS)
    assert (read.image_shape, read.training) == ((4, 4), {"accuracy": 0.5})
    assert [member.training for member in read.members] == [{"class": k} for k in range(3)]
    assert [member.examples[0, 0] for member in read.members] == [0.0, 1.0, 2.0]
    for network_read, path in zip(read.mixture.components, members, strict=True):
        assert network_read.digest() == checkpoint.read(path).weights.digest()


def test_the_file_holds_each_number_once(model, members):
    assert model.stat().st_size < 1.2 * sum(path.stat().st_size for path in members)


def test_either_kind_is_read_and_says_that_it_is_not_the_other(model, members):
    with pytest.raises(CheckpointError, match=r"a model of one network; .* holds one per class"):
        _ = checkpoint.read(model).weights
    with pytest.raises(CheckpointError, match=r"with one network per class; .* holds one network.*--per-class"):
        _ = checkpoint.read(members[0]).mixture
    with pytest.raises(CheckpointError, match="neither `latent_stats` nor `preprocess`"):
        checkpoint.read(model, preprocessing=NAMED["paper"])
    with pytest.raises(CheckpointError, match="neither `latent_stats` nor `preprocess`"):
        checkpoint.read(model, latent_stats=members[0])


def test_names_of_columns_are_those_of_all_classes(tmp_path):
    files = [tmp_path / f"{number}.pt" for number in range(3)]
    for path, member in zip(files, mixture(2, 2).components, strict=True):
        checkpoint.write_weights(path, member, image_shape=None, training={}, examples=None, columns=("a", "b"))
    model, told = tmp_path / "model.pt", {"names": CLASS_NAMES, "priors": PRIORS, "training": {}}
    checkpoint.write_classes(model, files, **told)
    read = checkpoint.read(model)
    assert [read.columns, *(member.columns for member in read.members)] == [("a", "b")] * 4
    checkpoint.write_checkpoint(tmp_path / "again.pt", read)
    assert checkpoint.read(tmp_path / "again.pt").columns == ("a", "b")
    checkpoint.write_weights(files[1], read.members[1].weights, image_shape=None, training={}, examples=None)
    checkpoint.write_classes(model, files, **told)
    with pytest.raises(CheckpointError, match="Expected classes of the same columns"):
        checkpoint.read(model)


def test_a_missing_class_leaves_nothing(members, tmp_path):
    members[1].unlink()
    with pytest.raises(CheckpointError, match=r"1.pt does not exist"):
        checkpoint.write_classes(tmp_path / "model.pt", members, names=CLASS_NAMES, priors=PRIORS, training={})
    assert not (tmp_path / "model.pt").exists()


def other_width(content):
    flow = Flow.of(network(5, 2))
    content["networks"][1].update(
        settings={"dim": 5, "blocks": 2, "alpha": 0.1, "image_shape": None},
        packed=torch.stack([layer.packed.detach() for layer in flow.modules_of(LULinear)]),
        sign=torch.ones(2, 5),
        bias=torch.zeros(2, 5),
        preprocessing=None,
        examples=None,
    )
    for entry in content["networks"]:
        entry["settings"]["image_shape"] = None


BAD = {
    "newer": (lambda c: c.update(format_version=2), "Expected format version 1 .* got 2"),
    "no names": (lambda c: c.pop("names"), "'names' is missing or wrong"),
    "names of numbers": (lambda c: c.update(names=[1, 2, 3]), "a name of its own"),
    "names that repeat": (lambda c: c.update(names=["a", "a", "b"]), "a name of its own"),
    "names of a text": (lambda c: c.update(names="abc"), "'names' is missing or wrong"),
    "a name less": (lambda c: c["names"].pop(), "got 2 names and 3 priors"),
    "priors of tensors": (lambda c: c.update(priors=torch.ones(3) / 3), "'priors' is missing or wrong"),
    "priors of text": (lambda c: c.update(priors=["a", "b", "c"]), "positive priors"),
    "a NaN among priors": (lambda c: c.update(priors=[0.5, 0.5, float("nan")]), "positive priors"),
    "priors of too much": (lambda c: c.update(priors=[0.5, 0.5, 0.5]), "sum to 1; got 1.5"),
    "no networks": (lambda c: c.update(networks=[]), "Expected"),
    "networks of numbers": (lambda c: c.update(networks=[1, 2, 3]), "networks of lunet-export"),
    "a network less": (lambda c: c["networks"].pop(), "one network per class; got 2 for 3 names"),
    "classes in classes": (
        lambda c: c["networks"].__setitem__(0, {**c, "networks": list(c["networks"])}),
        "networks of lunet-export",
    ),
    "the authors' network": (
        lambda c: c["networks"].__setitem__(0, dict(authors_state(network(16, 2)))),
        "networks of lunet-export",
    ),
    "a network of another width": (other_width, "one width and one pre-processing"),
    "a network of another shape": (
        lambda c: c["networks"][1]["settings"].update(image_shape=[2, 8]),
        "images of one shape .* got 2",
    ),
    "a newer network": (lambda c: c["networks"][1].update(format_version=9), "Expected format version 1"),
    "a hollow network": (
        lambda c: c["networks"][2].update(packed=torch.zeros(1).expand(2, 16, 16)),
        r"claims \(2, 16, 16\) and holds 4 bytes",
    ),
    "a network with NaN": (lambda c: c["networks"][0]["bias"].fill_(float("nan")), "finite numbers in bias"),
    "no training": (lambda c: c.pop("training"), "'training' is missing or wrong"),
    "training of text": (lambda c: c.update(training="much"), "'training' is missing or wrong"),
    "code": (lambda c: c.update(names=Code()), r"asks to run code \(.*print\), which is refused"),
}


@pytest.mark.parametrize(("edit", "sentence"), BAD.values(), ids=BAD)
def test_bad_files_get_a_sentence(model, edit, sentence, capsys):
    content = torch.load(model, weights_only=True)
    edit(content)
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.read(saved(content, model))
    assert "owned" not in capsys.readouterr().out
