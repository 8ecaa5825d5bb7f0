"""Checkpoints of the RealNVP in the released code: our network computes what that module does."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lunet_export import checkpoint
from lunet_export.checkpoint import released_realnvp
from lunet_export.checks import reference
from lunet_export.errors import CheckpointError
from lunet_export.preprocessing import NAMED
from tests.cli.conftest import run
from tests.test_checkpoint import saved

SIDE, PLANES = 4, 3


class Residual(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(planes, planes, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, h: Tensor) -> Tensor:
        norm = nn.functional.instance_norm
        return (h + norm(self.conv2(norm(self.conv1(h)).relu()))).relu()


def network_of(channels: int, planes: int) -> nn.Sequential:
    first, last = (
        nn.Conv2d(channels, planes, 3, padding=1, bias=False),
        nn.Conv2d(planes, channels, 3, padding=1, bias=False),
    )
    return nn.Sequential(first, Residual(planes), Residual(planes), last)


class TheirRealNVP(nn.Module):
    """What the formulas of that code say, in PyTorch and by its keys; in evaluation."""

    def __init__(self, final: int = 2, side: int = SIDE) -> None:
        super().__init__()
        half = side // 2
        self.shapes = [(1, side, side)] * 3 + [(4, half, half)] * 3 + [(2, half, half)] * final
        planes = [PLANES] * 6 + [2 * PLANES] * final
        pairs = list(zip(self.shapes, planes, strict=True))
        self.s = nn.ModuleList(network_of(shape[0], width) for shape, width in pairs)
        self.t = nn.ModuleList(network_of(shape[0], width) for shape, width in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape[0], affine=False) for shape in self.shapes)
        self.s_scale, self.t_scale, self.t_bias = (
            nn.ParameterList(0.3 * torch.randn(shape) for shape in self.shapes) for _ in range(3)
        )
        for norm in self.norms:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        self.double().eval()

    def mask(self, i: int) -> Tensor:
        kept = 1 - torch.from_numpy(np.indices(self.shapes[i]).sum(axis=0)) % 2
        if 3 <= i < 6:
            kept = torch.zeros(self.shapes[i])
            kept[self.shapes[i][0] // 2 :] = 1
        return kept.double() if i % 2 == 0 else 1 - kept.double()

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out, log_det = [], x.new_zeros(len(x))
        h = x.view(-1, *self.shapes[0])
        for i in range(len(self.shapes)):
            kept = self.mask(i)
            s = self.s_scale[i] * self.s[i](kept * h).tanh()
            t = self.t_scale[i] * self.t[i](kept * h) + self.t_bias[i]
            h = kept * h + (1 - kept) * (h * s.exp() + t)
            norm = self.norms[i]
            log_det = log_det + ((1 - kept) * s).flatten(1).sum(1)
            log_det = log_det - 0.5 * (norm.running_var + norm.eps).log().sum() * h[0, 0].numel()
            h = norm(h)
            if i == 2:
                h = nn.functional.pixel_unshuffle(h, 2)
            if i == 5:
                h, factored = h.chunk(2, 1)
                out.append(factored.flatten(1))
        return torch.cat([*out, h.flatten(1)], 1), log_det


@pytest.fixture(params=[1, 3], ids="{} final".format)
def theirs(request):
    torch.manual_seed(request.param)
    return TheirRealNVP(request.param)


def kept(module, path):
    """As that code saves it."""
    optimizer = torch.optim.Adam(module.parameters()).state_dict()
    state = {"epoch": 3, "model_state_dict": module.state_dict(), "optimizer_state_dict": optimizer}
    return saved({**state, "val_bpd": torch.tensor(1.5)}, path)


def test_the_network_is_theirs(theirs, tmp_path):
    read = checkpoint.read(kept(theirs, tmp_path / "best.pth"))
    x = np.random.default_rng(0).normal(0, 2, (6, SIDE**2))
    z, log_det = (value.numpy() for value in theirs(torch.from_numpy(x)))
    ours, found = reference.encode(read.weights, x)
    assert np.abs(ours - z).max() < 1e-10 * max(1, np.abs(z).max())
    assert np.abs(found - log_det).max() < 1e-10 * max(1, np.abs(log_det).max())
    assert np.abs(reference.decode(read.weights, z) - x).max() < 1e-8
    assert (read.kind, read.image_shape, read.weights.kind.name) == ("authors-realnvp", None, "realnvp")
    assert read.notes == (
        "The network in best.pth was taken from 'model_state_dict', without epoch, optimizer_state_dict, val_bpd "
        "beside it.",
    )


@pytest.mark.parametrize("planted", ["channels", "checkerboard", "cells"])
def test_a_wrong_mask_or_order_would_be_seen(theirs, tmp_path, monkeypatch, planted):
    right = getattr(released_realnvp, planted)
    wrong = {"channels": lambda shape, number: right(shape, number + 1), "cells": lambda image: right(image)[::-1]}
    wrong["checkerboard"] = wrong["channels"]
    monkeypatch.setattr(released_realnvp, planted, wrong[planted])
    read = checkpoint.read(kept(theirs, tmp_path / "best.pth"))
    x = np.random.default_rng(0).normal(0, 2, (6, SIDE**2))
    assert np.abs(reference.encode(read.weights, x)[0] - theirs(torch.from_numpy(x))[0].numpy()).max() > 1e-3


def test_it_exports_checks_and_scores(theirs, tmp_path):
    best = kept(theirs, tmp_path / "best.pth")
    assert run(best, "-o", tmp_path / "out")[0] == 0
    assert run("check", tmp_path / "out", "--model", best)[0] == 0


def test_the_pre_processing_of_lunet_is_refused(theirs, tmp_path):
    with pytest.raises(CheckpointError, match=r"Expected no `preprocess`, which is LU-Net's; .* logit\(0\.05 \+ 0\.95"):
        checkpoint.read(kept(theirs, tmp_path / "best.pth"), preprocessing=NAMED["paper"])


def test_its_grey_levels_are_not_sent_to_a_pre_processing_that_it_refuses(theirs, tmp_path):
    assert run(kept(theirs, tmp_path / "best.pth"), "-o", tmp_path / "out")[0] == 0
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 256, (4, SIDE**2), dtype=np.uint8))
    code, _, err = run("score", tmp_path / "out", tmp_path / "grey.npy")
    assert code == 0
    assert "look like grey levels. Give x = logit(0.05 + 0.95 y / 256) of grey levels y" in err
    assert "--preprocess" not in err


def without_last(state):
    for key in [key for key in state if ".6" in key]:
        del state[key]


EDITS = {
    "another shape": (
        lambda s: s.update({"s_scale.0": torch.zeros(3, 4, 4)}),
        "num_coupling 6 .* got s_scale of the shapes",
    ),
    "odd sides": (lambda s: s.update({"s_scale.0": torch.zeros(1, 3, 3)}), "on grey images of even sides"),
    "a vector for an image": (
        lambda s: s.update({"t_bias.1": torch.zeros(4)}),
        r"Expected t_bias\.1 of shape \(1, 4, 4\)",
    ),
    "a negative variance": (lambda s: s["norms.2.running_var"].fill_(-1.0), r"no negative variances, at norms\.2"),
    "a kernel of another size": (
        lambda s: s.update({"s.0.0.weight": torch.zeros(3, 1, 5, 5)}),
        "networks whose arrays fit each other in coupling 1 of 7",
    ),
    "NaN": (lambda s: s["s.0.0.weight"].fill_(float("nan")), "finite"),
    "a kernel missing": (
        lambda s: s.pop("t.4.2.conv1.weight"),
        r"a whole RealNVP of the released code in .*; it lacks t\.4\.2\.conv1\.weight",
    ),
    "no last couplings": (without_last, "num_final_coupling 1 or more"),
}


@pytest.mark.parametrize(("edit", "told"), EDITS.values(), ids=EDITS)
def test_others_are_told(edit, told, tmp_path):
    torch.manual_seed(0)
    state = dict(TheirRealNVP(1).state_dict())
    edit(state)
    with pytest.raises(CheckpointError, match=told):
        checkpoint.read(saved(state, tmp_path / "best.pth"))
