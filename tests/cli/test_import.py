"""`lunet-export import`: what it prints, what it writes, and that it writes nothing where something is wrong."""

import json
import sys

import numpy as np
import pytest
import torch

from lunet_export import ExportedFlow, checkpoint
from lunet_export.checks import reference
from tests import tolerances
from tests.cli.conftest import run

zuko = pytest.importorskip("zuko", reason="zuko is not installed: run make setup-dev")

MODULE = """
import torch
import zuko

def build():
    return zuko.flows.MAF(3, transforms=2, hidden_features=(12,))

def conditional():
    return zuko.flows.MAF(3, 2, transforms=2, hidden_features=(12,))

def polynomials():
    return zuko.flows.BPF(3, transforms=2)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_zuko_flows.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("my_zuko_flows", None)


def test_the_whole_way(here):
    flow = zuko.flows.MAF(3, transforms=2, hidden_features=(12,))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    torch.save(flow.state_dict(), "state.pt")
    code, out, err = run("import", "zuko", "my_zuko_flows:build", "--state", "state.pt")
    assert (code, "largest relative differences from the flow of zuko" in out, "wrote model.pt" in out) == (
        0,
        True,
        True,
    )
    assert err.strip() == "next: lunet-export model.pt"
    assert run("model.pt", "-o", "maf")[0] == 0
    assert run("check", "maf", "--model", "model.pt")[0] == 0
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = flow().log_prob(torch.from_numpy(x)).numpy()
    allowed = tolerances.TWO * tolerances.of_density(checkpoint.read(here / "model.pt").weights, x)["log_prob"]
    ours = ExportedFlow("maf", provider="cpu").log_prob(x)
    tolerances.assert_within(ours, theirs, allowed)
    assert tolerances.beyond(ours[::-1], theirs, allowed) > 1


def test_json_tells_what_was_carried(here):
    code, out, _ = run("import", "zuko", "my_zuko_flows:build", "-o", "mine.pt", "--json")
    document = json.loads(out)
    assert (code, document["dim"], document["imported_from"]) == (0, 3, "zuko")
    assert [layer["why_not"] for layer in document["layers"]] == [None, None, None]
    assert document["proof"]["log_prob"] < 1e-10
    assert checkpoint.read(here / "mine.pt").training["source"] == "my_zuko_flows:build"


def test_a_context_is_fixed(here):
    np.save("context.npy", np.array([0.5, -1.0]))
    torch.manual_seed(3)
    code, _, _ = run("import", "zuko", "my_zuko_flows:conditional", "--context", "context.npy")
    assert code == 0
    torch.manual_seed(3)
    flow = zuko.flows.MAF(3, 2, transforms=2, hidden_features=(12,))
    x = np.random.default_rng(0).standard_normal((20, 3))
    with torch.no_grad():
        theirs = flow.double()(torch.tensor([0.5, -1.0], dtype=torch.float64)).log_prob(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(reference.log_prob(checkpoint.read(here / "model.pt").weights, x), theirs, rtol=1e-10)


def test_a_context_stays_an_input_without_one(here):
    code, out, _ = run("import", "zuko", "my_zuko_flows:conditional")
    assert (code, out.splitlines()[0]) == (0, "the flow takes a context of 2 numbers")
    assert "on 512 rows at 128 contexts in float64: log p" in out
    code, out, _ = run("import", "zuko", "my_zuko_flows:conditional", "-o", "other.pt", "--json")
    document = json.loads(out)
    assert (code, document["dim"], document["context_dim"], document["context"]) == (0, 3, 2, None)
    assert document["proof"]["contexts"] == 128
    assert checkpoint.read(here / "other.pt").weights.context.dim == 2


def test_what_is_not_carried_is_named_and_nothing_written(here):
    code, out, err = run("import", "zuko", "my_zuko_flows:polynomials", "--json")
    assert (code, (here / "model.pt").exists()) == (2, False)
    assert [layer["path"] for layer in json.loads(out)["unsupported"]] == [f"transform.transforms.{i}" for i in (0, 1)]
    assert "transform.transforms.0, transform.transforms.1 (MaskedAutoregressiveTransform): its univariate" in err


def test_a_report_lists_all_layers_and_writes_nothing(here):
    code, out, _ = run("import", "zuko", "my_zuko_flows:polynomials", "--report")
    assert (code, (here / "model.pt").exists()) == (0, False)
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["layer", "class", "converted"]
    assert (lines[1][:2], lines[-1]) == (
        ["transform.transforms.0", "MaskedAutoregressiveTransform"],
        ["base", "DiagNormal", "yes"],
    )
    code, out, _ = run("import", "zuko", "my_zuko_flows:polynomials", "--report", "--json")
    assert (code, [layer["why_not"] is None for layer in json.loads(out)["layers"]]) == (0, [False, False, True])


WRONG = {
    "a factory that is not there": (["zuko", "my_zuko_flows:gone"], "Expected gone in the module my_zuko_flows"),
    "another library": (["nflows", "my_zuko_flows:build"], "Run: lunet-export import zuko my_zuko_flows:build"),
    "a library that is not read": (["pyro", "my_zuko_flows:build"], "pyro"),
    "a file beside a state": (["zuko", "state.pt", "--state", "state.pt"], "Expected module:factory beside --state"),
    "no such state": (
        ["zuko", "my_zuko_flows:build", "--state", "gone.pt"],
        "Expected a state_dict; gone.pt does not exist. Write it with: torch.save(flow.state_dict(), FILE)",
    ),
    "a bare state of zuko": (["zuko", "state.pt"], "Expected module:factory and --state state.pt"),
    "no such context": (["zuko", "my_zuko_flows:conditional", "--context", "gone.npy"], "gone.npy does not exist"),
    "a context of words": (["zuko", "my_zuko_flows:conditional", "--context", "words.npy"], "or floats in words.npy"),
    "another name": (["zuko", "my_zuko_flows:build", "-o", "model.onnx"], "a model file that ends in .pt"),
    "a file that is there": (["zuko", "my_zuko_flows:build", "-o", "state.pt"], "state.pt exists already"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_a_sentence(name, here):
    torch.save(zuko.flows.MAF(3).state_dict(), "state.pt")
    np.save("words.npy", np.array(["a", "b"]))
    arguments, sentence = WRONG[name]
    before = sorted(path.name for path in here.iterdir() if path.is_file())
    code, _, err = run("import", *arguments)
    assert (code, " ".join(sentence.split()) in " ".join(err.split())) == (2, True), err
    assert sorted(path.name for path in here.iterdir() if path.is_file()) == before


FREIA = """
import torch
from torch import nn
from FrEIA import framework, modules

def net(entering, leaving):
    return nn.Sequential(nn.Linear(entering, 12), nn.ReLU(), nn.Linear(12, leaving))

def build():
    flow = framework.SequenceINN(4)
    for seed in range(2):
        flow.append(modules.PermuteRandom, seed=seed)
        flow.append(modules.GLOWCouplingBlock, cond=0, cond_shape=(2,), subnet_constructor=net, clamp=2.5)
    return flow

def images():
    flow = framework.SequenceINN(3, 4, 4)
    flow.append(modules.HaarDownsampling)
    return flow
"""


@pytest.fixture
def of_freia(here):
    pytest.importorskip("FrEIA", reason="FrEIA is not installed: run make setup-dev")
    (here / "my_freia_flows.py").write_text(FREIA)
    yield here
    sys.modules.pop("my_freia_flows", None)


@pytest.mark.parametrize("name", ["freia", "FrEIA"])
@pytest.mark.filterwarnings("ignore")  # of FrEIA about PyTorch
def test_a_flow_of_freia_goes_the_whole_way(name, of_freia):
    sys.path.insert(0, str(of_freia))
    try:
        from my_freia_flows import build
    finally:
        sys.path.remove(str(of_freia))
    flow = build()
    with torch.no_grad():
        for parameter in flow.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    torch.save(flow.state_dict(), "state.pt")
    code, out, err = run("import", name, "my_freia_flows:build", "--state", "state.pt")
    assert (code, err.strip()) == (0, "next: lunet-export model.pt"), err
    assert "largest relative differences from the flow of FrEIA, on 512 rows at 128 contexts" in out
    assert (run("model.pt", "-o", "glow")[0], run("check", "glow", "--model", "model.pt")[0]) == (0, 0)
    x, c = (np.random.default_rng(0).standard_normal((20, width)).astype(np.float32) for width in (4, 2))
    with torch.no_grad():
        z, log_det = flow.double()(torch.from_numpy(x).double(), c=[torch.from_numpy(c).double()])
    theirs = reference.standard_normal_log_prob(z.numpy()) + log_det.numpy()
    allowed = tolerances.of_density(checkpoint.read(of_freia / "model.pt").weights, x, "float32", c)["log_prob"]
    ours = ExportedFlow("glow", provider="cpu").log_prob(x, context=c)
    tolerances.assert_within(ours, theirs, allowed)
    assert tolerances.beyond(ours[::-1], theirs, allowed) > 1


@pytest.mark.filterwarnings("ignore")  # of FrEIA about PyTorch
def test_what_freia_has_beyond_rows_gets_a_sentence(of_freia):
    code, out, err = run("import", "freia", "my_freia_flows:images", "--json")
    assert (code, (of_freia / "model.pt").exists()) == (2, False)
    assert json.loads(out)["unsupported"][0]["path"] == "module_list.0"
    assert "it takes images of shape (3, 4, 4): flows of rows are supported; images need" in " ".join(err.split())


@pytest.mark.filterwarnings("ignore")  # of FrEIA about PyTorch
def test_a_state_of_freia_alone_asks_for_its_factory(of_freia):
    code, _, err = run("import", "zuko", "my_freia_flows:build")
    assert (code, "Run: lunet-export import FrEIA my_freia_flows:build" in " ".join(err.split())) == (2, True), err
    torch.save({"module_list.0.perm": torch.arange(4)}, "state.pt")
    code, _, err = run("import", "freia", "state.pt")
    assert code == 2
    assert "Expected module:factory and --state state.pt; the keys of a FrEIA state" in " ".join(err.split())
    code, _, err = run("state.pt")
    assert code == 2
    assert "lunet-export import FrEIA MODULE:FUNCTION --state state.pt" in " ".join(err.split())


GLASFLOW = """
from glasflow.flows import CouplingNSF

def build():
    return CouplingNSF(3, 2, n_conditional_inputs=2, n_neurons=12, linear_transform="lu")
"""


@pytest.mark.filterwarnings("ignore")  # of glasflow about PyTorch
def test_splines_of_glasflow_go_the_whole_way(here):
    pytest.importorskip("glasflow", reason="glasflow is not installed: run make setup-dev")
    (here / "my_glasflow_flows.py").write_text(GLASFLOW)
    try:
        code, out, err = run("import", "glasflow", "my_glasflow_flows:build")
    finally:
        sys.modules.pop("my_glasflow_flows", None)
    assert (code, err.strip()) == (0, "next: lunet-export model.pt"), err
    assert "largest relative differences from the flow of glasflow, on 512 rows at 128 contexts" in out
    assert (run("model.pt", "-o", "splines")[0], run("check", "splines", "--model", "model.pt")[0]) == (0, 0)
