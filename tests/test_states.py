"""Networks as training loops save them: what is unambiguous is taken and told, what is not is named."""

import json
import re
import shlex
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from torch import nn

import lunet_export
from lunet_export import checkpoint
from lunet_export.checkpoint.states import Layout, of_one
from lunet_export.errors import CheckpointError
from lunet_export.importers import source
from lunet_export.torch_layers import Flow
from tests.cli.conftest import run
from tests.importers.peers import nflows_lu, package
from tests.networks import network
from tests.test_checkpoint import authors_state, saved

WEIGHTS = network(4, 3, seed=1)
STATE = authors_state(WEIGHTS)
OTHER = authors_state(network(4, 3, seed=2))
RUN = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}}


def behind(prefix, state=STATE):
    return OrderedDict((prefix + key, value) for key, value in state.items())


class AsReleased(nn.Module):
    """A module whose keys are those of the released code."""

    def __init__(self, dim=4, blocks=3):
        super().__init__()
        linear = [nn.Linear(dim, dim, bias=bias) for _ in range(blocks) for bias in (False, True)]
        self.intermediate_lu_blocks = nn.Sequential(*linear[:-2])
        self.final_lu_block = nn.Sequential(*linear[-2:])

    def forward(self, x):
        return self.final_lu_block(self.intermediate_lu_blocks(x))


def of_pytorch(wrap):
    """The state of a wrapped module, made by PyTorch itself."""
    module = AsReleased().double()
    module.load_state_dict(STATE)
    return wrap(module).state_dict()


class Holder(nn.Module):
    """As a module of Lightning holds its network, with a loss of its own."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)


def compiled(module):
    return torch.compile(module, backend="eager")


#: What a file holds, and what is told of it.
TAKEN = {
    "DataParallel": (of_pytorch(nn.DataParallel), "without module. before its keys."),
    "torch.compile": (of_pytorch(compiled), "without what a wrapper put into its keys."),
    "both": (of_pytorch(lambda m: compiled(nn.DataParallel(m))), "without module. before its keys, without what a"),
    "the other way": (of_pytorch(lambda m: nn.DataParallel(compiled(m))), "without module. before its keys, without"),
    "twice": (of_pytorch(lambda m: nn.DataParallel(nn.DataParallel(m))), "without module.module. before its keys."),
    "compiled inside": (of_pytorch(lambda m: Holder(flow=compiled(m))), "without flow. before its keys, without what"),
    "averaged": (
        of_pytorch(torch.optim.swa_utils.AveragedModel),
        "without module. before its keys, without n_averaged beside it.",
    ),
    "state_dict": ({"state_dict": STATE}, "from 'state_dict'."),
    "model": ({"model": STATE}, "from 'model'."),
    "a run": (
        {"model_state_dict": STATE, **RUN},
        "from 'model_state_dict', without epoch, optimizer beside it.",
    ),
    "a run of its own names": ({"my_net": {"weights": behind("module.")}, **RUN}, "from 'my_net.weights', without"),
    "Lightning": (
        {
            "epoch": 1,
            "global_step": 9,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": {**behind("model."), "loss.weight": torch.ones(3)},
            "hyper_parameters": {"lr": 0.1},
        },
        "from 'state_dict', without model. before its keys, without loss.weight, epoch, global_step, ... beside it.",
    ),
    "numbers beside the tensors": ({**STATE, "epoch": 3, "loss": 1.5}, "without epoch, loss beside it."),
    "one network twice": ({"model": STATE, "best": dict(STATE)}, "from 'model', without best beside it."),
}


@pytest.mark.parametrize(("content", "told"), TAKEN.values(), ids=TAKEN)
def test_what_is_unambiguous_is_taken_and_told(content, told, tmp_path):
    read = checkpoint.read(saved(content, tmp_path / "net.pth"))
    assert read.weights.digest() == WEIGHTS.digest()
    (note,) = read.notes
    assert note.startswith(f"The network in net.pth was taken {told}")


def test_a_state_alone_needs_no_word(tmp_path):
    assert checkpoint.read(saved(STATE, tmp_path / "net.pth")).notes == ()


AMBIGUOUS = {
    "an average": ({"model": STATE, "ema": OTHER, **RUN}, "'model'; 'ema'"),
    "an average inside": (
        {"state_dict": {**behind("net."), **behind("ema.module.", OTHER)}},
        "begin with ema.module. in 'state_dict'; keys that begin with net. in 'state_dict'",
    ),
    "an average beside": (
        {**STATE, **behind("ema.", OTHER)},
        "the keys without a prefix; keys that begin with ema.",
    ),
    "two models": (
        {"generator": {"module": STATE}, "critic": {"module": OTHER}},
        "'generator.module'; 'critic.module'",
    ),
}


@pytest.mark.parametrize(("content", "told"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_copies_are_named_with_a_command_that_keeps_one(content, told, tmp_path):
    path = saved(content, tmp_path / "it's a run.pth")
    with pytest.raises(CheckpointError, match="it holds 2 that differ") as error:
        checkpoint.read(path)
    sentence = str(error.value)
    assert told in sentence
    command = shlex.split(sentence.partition("for example: ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)
    (alone,) = set(tmp_path.iterdir()) - {path}
    assert checkpoint.read(alone).weights.digest() in (WEIGHTS.digest(), network(4, 3, seed=2).digest())


def flawed(edit):
    state = OrderedDict(STATE)
    edit(state)
    return state


REFUSED = {
    "a block without its bias": (
        {"model": behind("module.", flawed(lambda s: s.pop("intermediate_lu_blocks.1.bias")))},
        r"whole LU-Net of the released code in .*, keys that begin with module. in 'model'; it has intermediate_lu_bl",
    ),
    "no last block": (
        flawed(lambda s: [s.pop(key) for key in list(s) if key.startswith("final")]),
        r"it lacks final_lu_block.0.weight, final_lu_block.1.bias, final_lu_block.1.weight\. Save",
    ),
    "a layer more": (flawed(lambda s: s.update({"head.weight": torch.ones(2)})), r"; it has head.weight\. Save"),
    "our own Flow": (Flow.of(WEIGHTS).state_dict(), r"the state of a Flow of lunet-export, .* lunet_export.save\(flow"),
    "our own Flow, wrapped": ({"state_dict": behind("flow.", Flow.of(WEIGHTS).state_dict())}, "state of a Flow of lun"),
    "no tensors": ({"epoch": 3, "args": {"lr": 0.1}}, "holds no tensors, but epoch, args"),
    "nothing": ({}, "holds no tensors, but nothing"),
    "another network": (nn.Linear(2, 2).state_dict(), r"are neither \(first: weight, bias\).*lunet-export import"),
    "the inverse, wrapped": (behind("module.lu_layers.0.", {"weight": torch.eye(2)}), "best_inverse.pth"),
}


@pytest.mark.parametrize(("content", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_missing_or_too_much_is_named(content, told, tmp_path):
    with pytest.raises(CheckpointError, match=told):
        checkpoint.read(saved(content, tmp_path / "net.pth"))


def test_keys_of_other_libraries_are_sent_to_import(tmp_path):
    package("nflows")
    path = saved({"model_state_dict": behind("module.", nflows_lu(3).state_dict())}, tmp_path / "n.pth")
    with pytest.raises(CheckpointError, match=f"import nflows MODULE:FUNCTION --state {path}"):
        checkpoint.read(path)


def test_many_prefixes_are_no_work(tmp_path):
    """One look at every key, not one for every pair of keys and prefixes."""
    looked = 0

    def known(key):
        nonlocal looked
        looked += 1
        return key == "w"

    state = {f"n{number}.w": torch.zeros(1) for number in range(2000)}
    layout = Layout("net", known, lambda keys: {"w", "b"})
    assert of_one(state, tmp_path / "f", layout) is None
    assert looked <= 2 * len(state)


def test_the_command_line_tells_it_on_stderr_and_in_json(tmp_path):
    path = saved({"model_state_dict": behind("module."), **RUN}, tmp_path / "run.pth")
    code, out, err = run(path, "-o", tmp_path / "out", "--json")
    (note,) = json.loads(out)["notes"]
    assert (code, err) == (0, f"lunet-export: note: {note}\n")
    assert note.startswith("The network in run.pth was taken from 'model_state_dict', without module. before")
    assert run("check", tmp_path / "out", "--model", path)[0] == 0
    assert "notes" not in json.loads(run("inspect", tmp_path / "out", "--json")[1])


def test_python_tells_it_in_notes(tmp_path):
    model = lunet_export.load(saved({"state_dict": behind("flow.")}, tmp_path / "run.ckpt"))
    assert model.notes == ("The network in run.ckpt was taken from 'state_dict', without flow. before its keys.",)
    assert lunet_export.load(lunet_export.save(model, tmp_path / "m.pt").path).notes == ()


@pytest.mark.filterwarnings("ignore")  # of one part of the peers about another
class TestImport:
    """States of other libraries' flows, loaded into what a factory gives or into what the keys tell."""

    @pytest.fixture
    def flow(self):
        package("nflows")
        torch.manual_seed(3)
        return nflows_lu(3)

    def wrapped(self, state):
        return {"state_dict": behind("flow.module.", state), "epoch": 3}

    def test_a_wrapped_state_is_filled_in_and_told(self, flow, tmp_path):
        notes = []
        path = saved(self.wrapped(flow.state_dict()), tmp_path / "state.pt")
        filled = source.filled(nflows_lu(3), path, on_note=notes.append)
        assert all(torch.equal(value, filled.state_dict()[key]) for key, value in flow.state_dict().items())
        assert notes == [
            "The network in state.pt was taken from 'state_dict', without flow.module. before its keys, without epoch "
            "beside it."
        ]

    def test_a_wrapped_state_alone_determines_its_flow(self, tmp_path):
        package("nflows")
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow as TheirFlow
        from nflows.transforms import CompositeTransform, LULinear, RandomPermutation

        flow = TheirFlow(CompositeTransform([LULinear(3), RandomPermutation(3)]), StandardNormal([3]))
        notes = []
        path = saved(self.wrapped(flow.state_dict()), tmp_path / "state.pt")
        found = source.of_state("nflows", path, on_note=notes.append)
        assert found.state_dict().keys() == flow.state_dict().keys()
        assert len(notes) == 1

    def test_copies_are_named(self, flow, tmp_path):
        other = {key: value + 1 for key, value in flow.state_dict().items()}
        path = saved({"model": flow.state_dict(), "ema": other}, tmp_path / "state.pt")
        with pytest.raises(CheckpointError, match=r"it holds 2 that differ, .*'model'; 'ema'\. Write"):
            source.filled(nflows_lu(3), path)

    def test_the_command_line_tells_it(self, flow, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "wrapped_flows.py").write_text(
            "from tests.importers.peers import nflows_lu\ndef build():\n    return nflows_lu(3)\n"
        )
        saved(self.wrapped(flow.state_dict()), tmp_path / "state.pt")
        code, out, err = run("import", "nflows", "wrapped_flows:build", "--state", "state.pt", "--json")
        sys.modules.pop("wrapped_flows", None)
        (note,) = json.loads(out)["notes"]
        assert (code, re.sub(r"next: .*\n", "", err)) == (0, f"lunet-export: note: {note}\n")
        assert "without flow.module. before its keys" in note
