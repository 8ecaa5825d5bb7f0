"""`lunet_export.export` and `check`, beside the commands."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lunet_export
from lunet_export import ExportedClasses, ExportedFlow, parity
from lunet_export.api.checking import Checks
from lunet_export.errors import ArtifactError, BadInputError, CheckFailedError
from lunet_export.torch_layers import Flow
from tests import tolerances
from tests.api.conftest import command
from tests.conftest import ROOT
from tests.importers.peers import package
from tests.networks import mixture, network


def test_the_graphs_are_those_of_the_command(both):
    ours, theirs = (both.folder / name / "lobes" for name in ("python", "command"))
    for name in ("density.onnx", "sampling.onnx", "vectors.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    ours, theirs = (json.loads((folder / "manifest.json").read_text()) for folder in (ours, theirs))
    for document in (ours, theirs):
        del document["provenance"]["files"]["model"]["name"], document["sha256_manifest"]
    assert ours == theirs


def test_str_and_path_models_and_flows_give_the_same_graphs(both, tmp_path):
    chain = lunet_export.load(both.model).distribution
    given = [str(both.model), both.model, chain, Flow.of(chain, dtype=torch.float64)]
    wanted = (both.folder / "python" / "lobes" / "density.onnx").read_bytes()
    for number, model in enumerate(given[:3]):
        folder = tmp_path / str(number) / "lobes"
        with lunet_export.export(model, str(folder) if number else folder, provider="cpu") as flow:
            assert isinstance(flow, ExportedFlow)
        assert (folder / "density.onnx").read_bytes() == wanted
    with lunet_export.export(given[3], tmp_path / "3" / "lobes", provider="cpu") as flow, torch.no_grad():
        x = np.zeros((1, 2))
        allowed = tolerances.TWO * tolerances.of_density(chain, x)["log_prob"]
        tolerances.assert_within(flow.log_prob(x), given[3].log_prob(torch.from_numpy(x)).numpy(), allowed, "float64")


def test_a_mixture_opens_as_classes(tmp_path):
    with lunet_export.export(mixture(2, 2), tmp_path / "classes", provider="cpu") as classes:
        assert isinstance(classes, ExportedClasses)
        assert classes.sample(3, seed=0).shape == (3, 2)
    assert lunet_export.check(tmp_path / "classes", model=mixture(2, 2), provider="cpu")


def of_zuko():
    import zuko

    return zuko.flows.MAF(3, transforms=2, hidden_features=(8,))


def of_nflows():
    from nflows import distributions, flows, transforms

    layers = [transforms.LULinear(3), transforms.LeakyReLU(0.2), transforms.RandomPermutation(3)]
    return flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([3]))


@pytest.mark.filterwarnings("ignore")  # of one part of the peers about another
@pytest.mark.parametrize(("name", "made"), [("zuko", of_zuko), ("nflows", of_nflows)])
def test_flows_of_other_libraries_are_taken_as_they_are(name, made, tmp_path, monkeypatch):
    package(name)
    flow = made().eval()
    torch.save(flow.state_dict(), tmp_path / "state.pt")
    monkeypatch.chdir(tmp_path)
    ours = lunet_export.export(flow, tmp_path / "ours" / name, provider="cpu")
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = (flow() if name == "zuko" else flow).log_prob(torch.from_numpy(x)).numpy()
    weights = lunet_export.convert(flow).to_chain()
    allowed = tolerances.TWO * tolerances.of_density(weights, x)["log_prob"]
    tolerances.assert_within(ours.log_prob(x), theirs, allowed, name)
    command("import", name, f"{__name__}:{made.__name__}", "--state", "state.pt", "-o", "imported.pt")
    if name == "zuko":  # whose order of columns is no chance
        lunet_export.export("imported.pt", tmp_path / "theirs" / name, provider="cpu").close()
        for file in ("density.onnx", "sampling.onnx"):
            assert (tmp_path / "ours" / name / file).read_bytes() == (tmp_path / "theirs" / name / file).read_bytes()
    assert lunet_export.save(flow, "saved.pt").training["imported_from"] == name


def test_check_is_the_command(both):
    folder = both.folder / "python" / "lobes"
    for model, options in ((None, ()), (both.model, ("--model", both.model))):
        found = lunet_export.check(str(folder), model=model, provider="cpu")
        said = json.loads(command("check", folder, "--provider", "cpu", "--json", *options))
        assert [parity.as_json(entry) for entry in found] == said["checks"]


def test_a_wrong_answer_is_an_error_with_its_checks(both, monkeypatch):
    monkeypatch.setattr(ExportedFlow, "density", lambda self, x: (x, np.full(len(x), 7.0, self.dtype)))
    with pytest.raises(CheckFailedError, match="Expected all differences within tolerance") as caught:
        lunet_export.check(both.folder / "python" / "lobes", provider="cpu")
    assert any(not entry.passed for entry in caught.value.checks)


@pytest.mark.parametrize("given", [3, None, [1, 2], object(), torch.nn.Linear(2, 2), np.zeros((3, 2))])
def test_what_is_no_model_is_said_in_a_sentence(given, tmp_path):
    with pytest.raises(BadInputError, match=r"Expected a (model|flow)") as caught:
        lunet_export.export(given, tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_other_bad_input_is_said_in_a_sentence(both, tmp_path):
    folder = both.folder / "python" / "lobes"
    with pytest.raises(BadInputError, match="exists"):
        lunet_export.export(both.model, folder)
    with pytest.raises(BadInputError, match="Expected a dtype of"):
        lunet_export.export(both.model, tmp_path / "x", dtype="int8")
    for wrong in ({"tile": "auto"}, {"batch": 0}, {"steps": 1.5}):
        with pytest.raises(BadInputError, match="Expected a whole number for"):
            lunet_export.export(both.model, tmp_path / "x", **wrong)
    with pytest.raises(BadInputError, match="a str or a Path for the folder"):
        lunet_export.export(both.model, 3)
    with pytest.raises(BadInputError, match="the one that was given is another one"):
        lunet_export.check(folder, model=network(2, 2), provider="cpu")
    with pytest.raises(ArtifactError):
        lunet_export.check(tmp_path / "nowhere")


@pytest.mark.filterwarnings("ignore")  # of one part of the peers about another
def test_names_of_columns_are_given_to_a_flow_that_has_none(tmp_path, monkeypatch):
    package("zuko")
    names = ("mass", "radius", "age")
    monkeypatch.chdir(tmp_path)
    torch.save(of_zuko().state_dict(), "state.pt")
    with lunet_export.export(of_zuko(), "named", columns=list(names), provider="cpu") as flow:
        assert flow.columns == names
    assert lunet_export.save(of_zuko(), "named.pt", columns=names).columns == names
    given = ("zuko", f"{__name__}:of_zuko", "--state", "state.pt", "-o", "shell.pt")
    command("import", *given, "--columns", ", ".join(names))
    assert lunet_export.load("shell.pt").columns == names
    for wrong, told in ((names[:2], "mass, radius"), (("a", "a", "b"), "a, a, b"), ("abc", "'abc'")):
        said = f"Expected 3 different names in `columns`, one per dimension; got {told}."
        with pytest.raises(BadInputError, match=re.escape(said)):
            lunet_export.export(of_zuko(), "wrong", columns=wrong)
    with pytest.raises(BadInputError, match="Expected no `columns` for a model of images"):
        lunet_export.save(ROOT / "exported" / "digits.pt", "images.pt", columns=[f"p{n}" for n in range(64)])
    assert not any(Path(name).exists() for name in ("wrong", "images.pt"))


def test_checks_are_shown_as_a_table(both):
    found = lunet_export.check(both.folder / "python" / "lobes", provider="cpu")
    first, *lines = repr(found).splitlines()
    assert first == f"{len(found)} checks, all within tolerance; shares of the tolerance:"
    assert lines == [f"{entry.difference.ratio:8.2g}  {entry.name}" for entry in found]
    failed = Checks([replace(found[0], difference=replace(found[0].difference, ratio=2.5)), found[1]])
    assert repr(failed).splitlines()[0] == "2 checks, 1 failed; shares of the tolerance:"


def test_a_model_says_how_good_it_is(both):
    model = lunet_export.load(both.model)
    test, gaussian = (model.training[key] for key in ("test", "gaussian_test"))
    assert f"{test:.4g} bits/dim on test rows, of a Gaussian {gaussian:.4g}" in repr(model)
    assert "bits/dim" not in repr(lunet_export.api.models.model_of(network(2, 2)))
