"""Resume files and histories that are not what training wrote."""

import json

import pytest
import torch

from lunet_export.errors import CheckpointError, DataError
from lunet_export.training.history import EpochRecord, History
from tests.training.test_training import Interrupted, run


@pytest.fixture(scope="module")
def resumable(tmp_path_factory):
    path = tmp_path_factory.mktemp("resume") / "m.pt"
    with pytest.raises(Interrupted):
        run(path, stop_in_epoch=3)
    return path.with_suffix(".resume.pt")


def first_state(content):
    return next(iter(content["descent"]["optimiser"]["state"].values()))


def some(content, name):
    """A parameter's tensor of that kind."""
    return next(key for key in first_state(content) if key in name)


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: first_state(c).update({some(c, ("z", "exp_avg")): torch.zeros(2)}),
        lambda c: first_state(c).update({some(c, ("z", "exp_avg")): float("nan") * first_state(c)[some(c, ("z",))]}),
        lambda c: first_state(c).pop(some(c, ("z", "exp_avg"))),
        lambda c: c["descent"]["optimiser"]["param_groups"][0].update(lr="fast"),
        lambda c: c["descent"]["optimiser"]["param_groups"][0].update(betas=(0.9,)),
        lambda c: c["descent"]["optimiser"]["param_groups"][0].pop("k"),
        lambda c: c["history"][0].update(valid="low"),
        lambda c: c["history"][0].update(epoch=7),
        lambda c: c.update(history=[]),
        lambda c: c["random"]["state"].update(state=-1),
        lambda c: c.update(flow=c["flow"].popitem() and c["flow"]),
        lambda c: c["flow"].update({key: value[None] for key, value in c["flow"].items()}),
    ],
)
def test_a_resume_file_of_other_values_gets_one_sentence(resumable, tmp_path, edit):
    """Some of these were a traceback of the first step, others two lines."""
    content = torch.load(resumable, weights_only=True)
    edit(content)
    path = tmp_path / "m.pt"
    torch.save(content, path.with_suffix(".resume.pt"))
    with pytest.raises(CheckpointError, match=r"^Expected a resume file in [^\n]*wrong\. Start a new run\.$"):
        run(path, resume=True)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["epochs"][0].update(epoch=1.5),  # became 1
        lambda d: d["epochs"][0].update(epoch=3),
        lambda d: d["epochs"][0].update(valid="2.5"),
        lambda d: d["epochs"][0].update(valid=float("nan")),
        lambda d: d["epochs"][0].update(train=10**400),
        lambda d: d.update(start=float("inf")),
        lambda d: d.update(gaussian_test=True),
        lambda d: d.update(counted=["epoch"]),
        lambda d: d.update(dataset=5),
        lambda d: d.update(epochs=5),
    ],
)
def test_a_history_of_other_values_gets_a_sentence(tmp_path, edit):
    path = tmp_path / "m.history.json"
    History(3.5, 4.0, tuple(EpochRecord(n, 2.0, 2.5, 1e-3) for n in (1, 2))).write(path)
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="Expected a history"):
        History.read(path)
