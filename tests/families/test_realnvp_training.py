"""RealNVP is trained by the same command and by the same rules as LU-Net."""

import json

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.errors import BadInputError
from lunet_export.torch_layers.coupling import AffineCoupling, FlowNorm
from lunet_export.training import train
from lunet_export.training.realnvp.architecture import RealNVPArchitecture, RealNVPTrainer
from tests.cli.conftest import run as command
from tests.networks import network
from tests.training.test_training import CPU, IMAGES, VECTORS, Interrupted

pytestmark = pytest.mark.slow

SETTINGS = RealNVPArchitecture.settings(300, 3, epochs=4, batch_size=50, fallback=False)
DENSE = RealNVPArchitecture(3, None, 6)


def run(path, architecture=DENSE, settings=SETTINGS, data=VECTORS, *, resume=False, stop_in_epoch=None, begin=None):
    seen = []

    def on_step(step, bits):
        if stop_in_epoch is not None and len(seen) == stop_in_epoch - 1 and step == 3:
            raise Interrupted

    return train(
        data,
        settings,
        path,
        architecture=architecture,
        device=CPU,
        resume=resume,
        on_start=lambda line, trainer: seen.extend(trainer.history),
        on_step=on_step,
        on_epoch=seen.append,
        begin=begin,
    )


def test_it_learns_and_its_file_reads_back(tmp_path):
    path = tmp_path / "m.pt"
    result = run(path)
    assert (result.network["networks"], result.valid < result.start) == ("dense", True)
    read = checkpoint.read(path)
    assert (read.weights.kind.name, read.training["network"]) == ("realnvp", dict(result.network))
    other = run(tmp_path / "other.pt")
    assert (other.test, checkpoint.read(tmp_path / "other.pt").weights.digest()) == (result.test, read.weights.digest())


def test_convolutions_learn(tmp_path):
    rows = np.random.default_rng(0).integers(0, 8, (120, 16), dtype=np.uint8)
    data = type(IMAGES)("squares", rows[:80], rows[80:100], rows[100:], IMAGES.preprocessing, (4, 4), public=False)
    settings = RealNVPArchitecture.settings(80, 16, epochs=2, batch_size=20, fallback=False)
    result = run(tmp_path / "m.pt", RealNVPArchitecture.choose(16, (4, 4), {"width": 2}), settings, data)
    assert (result.network["networks"], result.valid < result.start) == ("convolutional", True)


@pytest.mark.parametrize("stop", [2, 4])
def test_an_interrupted_run_goes_on_bit_by_bit(tmp_path, stop):
    whole = run(tmp_path / "whole.pt")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts.pt", stop_in_epoch=stop)
    parts = run(tmp_path / "parts.pt", resume=True)
    assert parts == whole
    digests = {checkpoint.read(tmp_path / f"{name}.pt").weights.digest() for name in ("whole", "parts")}
    assert len(digests) == 1


def test_a_run_starts_from_another_model_with_norms_anew(tmp_path):
    first = run(tmp_path / "first.pt")
    begin = checkpoint.read(tmp_path / "first.pt").weights
    second = run(tmp_path / "second.pt", begin=begin)
    assert second.start == pytest.approx(first.valid, abs=1e-3)
    assert RealNVPArchitecture.of(begin).record() == DENSE.record()
    flow = RealNVPTrainer.trainable(begin, SETTINGS, torch.float32)
    assert sum(isinstance(layer, FlowNorm) for layer in flow.chain.bijections) == 6
    with pytest.raises(BadInputError, match="Expected a RealNVP to start from; got a lunet model"):
        run(tmp_path / "third.pt", begin=network(3, 2))


def test_the_penalty_is_of_the_scales_that_count():
    trainer = RealNVPTrainer(DENSE._flow(None).to_chain(), VECTORS, SETTINGS, device=CPU)
    assert float(trainer.penalty().detach()) == 0
    with torch.no_grad():
        for coupling in trainer.flow.modules_of(AffineCoupling):
            coupling.scale_factor.fill_(2.0)
    assert float(trainer.penalty().detach()) == pytest.approx(5e-5 / 50 * 6 * 1.5 * 4)


def test_the_commands_take_it(tmp_path):
    path, folder = tmp_path / "m.pt", tmp_path / "m"
    code, out, _ = command(
        "train", "digits", "--flow", "realnvp-dense", "--width", "8", "--epochs", "1", "-o", path, "--json"
    )
    assert (code, json.loads(out)["network"]["networks"]) == (0, "dense")
    assert command(path, "-o", folder)[0] == 0
    assert command("check", folder, "--model", path)[0] == 0
    assert command("sample", folder, "-n", "4", "-o", tmp_path / "x.npy")[0] == 0
    assert command("score", folder, tmp_path / "x.npy")[0] == 0
    quick = ("--seconds", "0.05", "--batch", "1", "--no-compile")
    code, out, _ = command("bench", folder, "--model", path, *quick)
    assert (code, ", floor" in out) == (0, False)
    code, out, _ = command("diagnose", path, "digits")
    assert (code, "no layer of this model is an activation" in out) == (0, True)
    code, out, _ = command("certify", folder)
    assert (code, "some layer's stretch has no bound" in out) == (0, True)
    code, out, _ = command("inspect", path)
    assert (code, "couplings" in out) == (0, True)
    code, out, _ = command("inspect", folder)
    assert (code, "realnvp" in out) == (0, True)
