"""A dtype that cannot hold a model: a wider one is advised only where it can."""

import pickle
import re

import numpy as np
import pytest

from lunet_export.errors import NarrowDtypeError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.flows import lunet
from lunet_export.layers import LU
from tests.cli.conftest import run
from tests.networks import network
from tests.test_checkpoint import authors_state, saved


def untrained(dim=64, blocks=4, seed=1):
    """As PyTorch begins the released code's network: pivots near 0."""
    rng, bound = np.random.default_rng(seed), dim**-0.5

    def block():
        upper, lower = (rng.uniform(-bound, bound, (dim, dim)) for _ in range(2))
        return LU(np.tril(lower, -1) + np.eye(dim), np.triu(upper), rng.uniform(-bound, bound, dim))

    return lunet([block() for _ in range(blocks)], 0.1)


def scaled(factor):
    """Data that many units of ours wide."""
    first, *others = network(3, 2).of(LU)
    return lunet([LU(first.lower, first.upper / factor, first.bias), *others], 0.1)


def refusal(weights, tmp_path, dtype):
    with pytest.raises(NarrowDtypeError) as error:
        export(weights, tmp_path / "out", Provenance("m"), ExportSettings(dtype=dtype))
    assert not (tmp_path / "out").exists()
    return str(error.value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_untrained_network_is_sent_to_no_dtype_that_refuses_it_too(tmp_path, dtype):
    sentence = refusal(untrained(), tmp_path, dtype)
    assert "Export with `dtype" not in sentence
    if dtype == "float64":
        assert "within the range of float64" in sentence
        return
    assert "A wider dtype is refused too: Expected" in sentence
    assert "within the range of float64" in sentence.partition("too:")[2]


@pytest.mark.parametrize(("dtype", "told"), [("float16", "float64"), ("float32", "float64")])
def test_the_dtype_that_is_advised_works(tmp_path, dtype, told):
    weights = scaled(1e60)
    sentence = refusal(weights, tmp_path, dtype)
    (advised,) = re.findall(r"Export with `dtype='(\w+)'`\.$", sentence)
    assert advised == told
    export(weights, tmp_path / "out", Provenance("m"), ExportSettings(dtype=advised))


def test_the_next_dtype_is_advised_where_it_is_enough(tmp_path):
    weights = scaled(1e-6)
    sentence = refusal(weights, tmp_path, "float16")
    assert sentence.endswith("Export with `dtype='float32'`.")
    export(weights, tmp_path / "out", Provenance("m"), ExportSettings(dtype="float32"))


def test_the_command_line_says_so(tmp_path):
    code, _, err = run(saved(authors_state(untrained()), tmp_path / "best.pth"), "-o", tmp_path / "out")
    assert (code, err.count("\n"), "A wider dtype is refused too" in err) == (2, 1, True)


def test_the_error_can_be_sent_to_another_process():
    error = NarrowDtypeError.of("Expected less.", "Take more.")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), str(again.curing("Stop."))) == ("Expected less. Take more.", "Expected less. Stop.")
