"""Factories, states, and what is wrong with them, in a sentence each."""

import sys

import pytest
import torch

from lunet_export import importers
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.importers import source
from tests.importers.peers import (
    PEERS,
    nflows_flow,
    nflows_lu,
    nflows_maf,
    normflows_flow,
    package,
    trained,
    zuko_lu,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

DIM = 3
MODULE = """
import torch
from torch import nn
from tests.importers.peers import nflows_lu

class Holder:
    @staticmethod
    def build():
        return nflows_lu({dim})

def build():
    return nflows_lu({dim})

def broken():
    raise KeyError("my own mistake")

def needs(something):
    return something

ready = nflows_lu({dim})
number = 3
"""


@pytest.fixture
def module(tmp_path):
    package("nflows")
    (tmp_path / "my_flows.py").write_text(MODULE.format(dim=DIM))
    (tmp_path / "half_written.py").write_text("def build(:\n")
    yield tmp_path
    sys.modules.pop("my_flows", None)


def test_a_factory_of_the_users_own_is_found_and_run(module):
    for name in ("my_flows:build", "my_flows:Holder.build", "my_flows:ready"):
        assert importers.read(source.made(name, module)).weights.dim == DIM
    assert str(module) not in sys.path


WRONG = {
    "my_flows": r"Expected module:factory; got my_flows\.",
    ":build": r"Expected module:factory; got :build\.",
    "no_such_module_here:build": r"the module no_such_module_here to run; it raised ModuleNotFoundError",
    "half_written:build": r"Expected the module half_written to run; it raised SyntaxError",
    "my_flows:gone": r"Expected gone in the module my_flows; it has none",
    "my_flows:broken": r"the factory my_flows:broken to run; it raised KeyError: 'my own mistake'\.",
    "my_flows:needs": r"the factory my_flows:needs to run; it raised TypeError",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_factory_is_told_in_a_sentence(name, module):
    with pytest.raises(BadInputError, match=WRONG[name]):
        source.made(name, module)


def test_a_factory_of_something_else_is_refused(module):
    with pytest.raises(BadInputError, match=r"Expected a flow or transform of .*; got a int"):
        importers.read(source.made("my_flows:number", module))


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
def test_a_state_is_loaded_exactly(module, nested):
    flow = trained(nflows_lu(DIM), PEERS["nflows"], DIM)
    state, path = flow.state_dict(), module / "state.pt"
    torch.save(state if nested is None else {nested: state, "epoch": 3}, path)
    torch.set_default_dtype(torch.float32)  # whose module would round a state in float64
    loaded = source.filled(source.made("my_flows:build", module), path)
    assert importers.read(loaded).weights.layers[0].bias.tolist() == flow._transform._transforms[0].bias.tolist()


def broken_states():
    state = nflows_lu(DIM).state_dict()
    first = next(iter(state))
    return {
        "keys of another": (
            nflows_maf(DIM).state_dict(),
            r"Expected the \d+ keys of the factory's Flow in .*; it lacks",
        ),
        "one too many": (state | {"odd": torch.zeros(1)}, r"; it has odd\. Give the factory that made this state"),
        "another shape": (state | {first: torch.zeros(7)}, rf"Expected {first} of shape \(3,\), .* has \(7,\)"),
        "no state": ({"epoch": 3}, r"Expected a state_dict in .*; got epoch\. Save"),
    }


@pytest.mark.parametrize("name", ["keys of another", "one too many", "another shape", "no state"])
def test_a_wrong_state_is_told_in_a_sentence(name, module):
    state, sentence = broken_states()[name]
    torch.save(state, module / "state.pt")
    with pytest.raises(CheckpointError, match=sentence):
        source.filled(nflows_lu(DIM), module / "state.pt")


def test_a_state_that_would_run_code_is_refused(module):
    torch.save(nflows_lu(DIM), module / "whole.pt")
    with pytest.raises(CheckpointError, match="it asks to run code"):
        source.filled(nflows_lu(DIM), module / "whole.pt")


def test_a_transform_takes_no_state(module):
    zuko = package("zuko")
    with pytest.raises(BadInputError, match=r"Expected a module to load .* into; the factory gave a IdentityTransform"):
        source.filled(zuko.transforms.IdentityTransform(), module / "state.pt")


# A bare state


def nflows_determined():
    package("nflows")
    from nflows import transforms as t

    layers = [t.LULinear(DIM), t.RandomPermutation(DIM), t.ActNorm(DIM), t.PointwiseAffineTransform(0.3, 2.0)]
    return nflows_flow(DIM, *layers, t.LULinear(DIM), diagonal=True)


def normflows_determined():
    f = package("normflows").flows
    layers = [f.LULinearPermute(DIM), f.Permute(DIM), f.InvertibleAffine(DIM), f.InvertibleAffine(DIM, use_lu=False)]
    return normflows_flow(DIM, *layers, f.AffineConstFlow((DIM,)), f.ActNorm((DIM,)))


@pytest.mark.parametrize(("library", "make"), [("nflows", nflows_determined), ("normflows", normflows_determined)])
def test_keys_that_determine_a_flow_are_enough(library, make, tmp_path):
    flow = trained(make(), PEERS[library], DIM)
    torch.save(flow.state_dict(), tmp_path / "state.pt")
    found = importers.read(source.of_state(library, tmp_path / "state.pt")).weights
    assert found.digest() == importers.read(flow).weights.digest()


UNDETERMINED = {
    "a layer without tensors": ("nflows", nflows_lu, r"for layer 1 they are none\. Give module:factory and `state="),
    "a network": ("nflows", nflows_maf, r"for layer 1 they are autoregressive_net\.blocks"),
    "zuko": ("zuko", zuko_lu, r"Expected module:factory and `state=.*; the keys of a zuko state do not determine"),
    "another library's": ("normflows", nflows_determined, r"for layer 0 they are none"),
}


@pytest.mark.parametrize("name", UNDETERMINED)
def test_keys_that_do_not_determine_a_flow_ask_for_a_factory(name, tmp_path):
    library, make, sentence = UNDETERMINED[name]
    package(library)
    torch.save((make() if make is nflows_determined else make(DIM)).state_dict(), tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=sentence):
        source.of_state(library, tmp_path / "state.pt")


def test_shapes_that_do_not_fit_each_other_ask_for_a_factory(tmp_path):
    state = nflows_determined().state_dict()
    state["_transform._transforms.0.lower_entries"] = torch.zeros(17)
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="the shapes of layer 0 do not fit each other"):
        source.of_state("nflows", tmp_path / "state.pt")
