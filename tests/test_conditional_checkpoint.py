"""Model files of conditional flows: what they hold, that they come back whole, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.errors import CheckpointError
from lunet_export.torch_layers import Flow
from tests.conditional import WIDTH, network
from tests.networks import network as unconditional

WEIGHTS = network()
NAMES = ("mass", "age", "Größe, m")
NAMED = replace(WEIGHTS, context=replace(WEIGHTS.context, names=NAMES))
KNOWN = {"image_shape": None, "training": {}, "examples": None}


@pytest.fixture
def path(tmp_path):
    checkpoint.write_weights(tmp_path / "m.pt", NAMED, **KNOWN)
    return tmp_path / "m.pt"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_context_comes_back_whole(suffix, tmp_path):
    path, again = tmp_path / f"m{suffix}", tmp_path / f"again{suffix}"
    checkpoint.write_weights(path, NAMED, **KNOWN)
    checkpoint.write_checkpoint(again, checkpoint.read(path))
    for file in (path, again):
        read = checkpoint.read(file).weights
        assert read.digest() == NAMED.digest() == WEIGHTS.digest()  # names of columns change no number
        context = read.context
        assert (context.dim, context.names) == (WIDTH, NAMES)
        np.testing.assert_array_equal([context.low, context.high], [[-3.0] * WIDTH, [3.0] * WIDTH])


def test_the_range_is_not_rounded_to_the_dtype_of_the_weights(tmp_path):
    ends = {"low": np.full(WIDTH, 0.1), "high": np.full(WIDTH, 0.3)}
    flow = Flow.of(replace(WEIGHTS, context=replace(WEIGHTS.context, **ends)))
    checkpoint.write(tmp_path / "m.pt", flow, **KNOWN)
    read = checkpoint.read(tmp_path / "m.pt")
    assert read.dtype == "float32"
    np.testing.assert_array_equal(read.weights.context.low, ends["low"])


def test_only_files_with_a_context_have_version_4(path, tmp_path):
    """1.0.0 refuses them by its check of the version."""
    assert torch.load(path, weights_only=True)["format_version"] == 4
    checkpoint.write_weights(tmp_path / "plain.pt", unconditional(2, 2), **KNOWN)
    assert torch.load(tmp_path / "plain.pt", weights_only=True)["format_version"] == 1


def test_a_context_of_no_known_range_has_none_in_its_file(tmp_path):
    unknown = replace(WEIGHTS, context=replace(WEIGHTS.context, low=None, high=None))
    checkpoint.write_weights(tmp_path / "m.pt", unknown, **KNOWN)
    assert set(torch.load(tmp_path / "m.pt", weights_only=True)["context"]) == {"dim", "network"}
    assert checkpoint.read(tmp_path / "m.pt").weights.context.low is None


DAMAGE = {
    "no dictionary": (lambda c: c.update(context=[1]), "context, dim is missing or wrong"),
    "no dim": (lambda c: c["context"].pop("dim"), "context, dim is missing or wrong"),
    "dim, true": (lambda c: c["context"].update(dim=True), "context, dim is missing or wrong"),
    "no network": (lambda c: c["context"].pop("network"), "'network' is missing or wrong"),
    "names, too few": (lambda c: c["context"].update(names=["a"]), "context, names is missing or wrong"),
    "range of one end": (lambda c: c["context"]["range"].pop("low"), "context, range is missing or wrong"),
    "range, NaN": (lambda c: c["context"]["range"].update(low=[float("nan")] * 3), "context, range is missing or"),
    "range, upside down": (lambda c: c["context"]["range"].update(low=[4.0] * 3), "context, range is missing or"),
    "another width": (
        lambda c: c.update(context={"dim": 2, "network": []}),
        "Expected layers that take a context of 2 numbers; they take 5",
    ),
    "left out": (lambda c: c.pop("context"), "Expected a context for layers that take one; the chain has none"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_malformed_contexts_are_one_sentence(case, path):
    content = torch.load(path, weights_only=True)
    DAMAGE[case][0](content)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=DAMAGE[case][1]) as caught:
        checkpoint.read(path)
    assert str(caught.value).count("\n") == 0


def test_drawn_contexts_depend_on_seed_and_row_alone_and_reach_both_ends():
    context = WEIGHTS.context
    drawn = context.drawn(5, range(40))
    np.testing.assert_array_equal(drawn[7:9], context.drawn(5, range(7, 9)))
    assert not context.beyond(drawn).any()
    at_ends = np.isin(drawn, [-3.0, 3.0]).all(axis=1)
    assert at_ends.tolist() == [row % 4 == 1 for row in range(40)]
    unknown = replace(context, low=None, high=None)  # standardised by 1 / scale around -shift / scale
    mean, deviation = -0.1 / np.array([1.0, 2.0, 0.5]), 1 / np.array([1.0, 2.0, 0.5])
    found = unknown.drawn(5, range(40))
    np.testing.assert_allclose(found.min(axis=0), mean - 2 * deviation)
    np.testing.assert_allclose(found.max(axis=0), mean + 2 * deviation)
