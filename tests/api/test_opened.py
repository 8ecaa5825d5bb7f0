"""An opened export says what it is, closes, and adds the noise of `score`."""

import copy
import inspect
import pydoc

import numpy as np
import pytest

import lunet_export
from lunet_export import ExportedClasses, ExportedFlow
from lunet_export.errors import BadInputError
from lunet_export.runtime.scoring import score
from tests.networks import network


@pytest.fixture(params=["flow", "classes"])
def opened(request, exported, exported_classes):
    if request.param == "flow":
        return ExportedFlow(exported.folder, provider="cpu")
    return ExportedClasses(exported_classes.folder, provider="cpu")


def test_its_repr_says_what_it_is(exported, exported_classes):
    assert repr(ExportedFlow(exported.folder, provider="cpu")) == (
        "ExportedFlow('small', lunet, dim=16, dtype=float32, provider='cpu')"
    )
    assert repr(ExportedClasses(exported_classes.folder, provider="cpu")) == (
        "ExportedClasses('classes', lunet-classes, 3 classes, dim=16, dtype=float32, provider='cpu')"
    )


def test_a_block_closes_it(opened):
    with opened as flow:
        assert flow.sample(2, seed=0).shape == (2, 16)
    x = np.full((1, 16), 0.5, np.float32)
    for use in (
        lambda: flow.sample(2, seed=0),
        lambda: flow.log_prob(x),
        lambda: (flow.placement and None) or flow.density(x),
    ):
        with pytest.raises(BadInputError, match="this one was closed"):
            use()
    flow.close()  # once more is nothing
    assert copy.copy(flow).sample(2, seed=0).shape == (2, 16)  # with sessions of its own


def test_rows_on_the_device_are_closed_too(exported):
    flow = ExportedFlow(exported.folder, provider="cpu")
    flow.close()
    with pytest.raises(BadInputError, match="this one was closed"):
        flow.on_device.graph("density")


@pytest.mark.filterwarnings("ignore::lunet_export.errors.RowsWarning")
def test_the_noise_is_that_of_score(opened):
    grey = np.random.default_rng(0).integers(0, 17, (5, 4, 4))
    x = opened.dequantize(grey, 7)
    assert (x.shape, x.dtype) == ((5, 16), opened.dtype)
    np.testing.assert_array_equal(np.floor(x), grey.reshape(5, 16))
    np.testing.assert_array_equal(opened.log_prob(x), score(opened, grey, seed=7).astype(np.float32))
    np.testing.assert_array_equal(opened.dequantize(grey[2:], 7, first=2), x[2:])
    np.testing.assert_array_equal(opened.dequantize(grey.reshape(5, 16).astype(float), seed=7), x)
    both = [opened.log_prob(opened.dequantize(grey, 7, draw=draw)).astype(np.float64) for draw in (0, 1)]
    np.testing.assert_array_equal(sum(both) / 2, score(opened, grey, draws=2, seed=7))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.full((2, 16), 0.5), "whole numbers"),
        (np.full((2, 16), 17), r"\[0, 17\)"),
        (np.full((2, 16), -1), r"\[0, 17\)"),
        (np.zeros((2, 5, 5), int), r"shape \(N, 16\)"),
        (np.array([["a"] * 16]), "Expected numbers"),
        (np.full((2, 16), np.nan), "Expected"),
    ],
)
def test_what_are_no_grey_levels_is_said(opened, images, said):
    with pytest.raises(BadInputError, match=said):
        opened.dequantize(images)


def test_a_model_of_vectors_adds_no_noise(tmp_path):
    with (
        lunet_export.export(network(2, 2), tmp_path / "m", provider="cpu") as flow,
        pytest.raises(BadInputError, match="this one takes vectors"),
    ):
        flow.dequantize([[1, 2]])


@pytest.mark.parametrize("name", ["train", "load", "save", "export", "check"])
def test_the_help_of_functions_names_types_as_they_are_called(name):
    assert "Union[" not in str(inspect.signature(getattr(lunet_export, name)))
    assert "numpy" not in str(inspect.signature(getattr(lunet_export, name)))


@pytest.mark.parametrize("kind", [ExportedFlow, ExportedClasses])
def test_the_help_has_short_signatures(kind):
    for name, member in inspect.getmembers(kind, inspect.isfunction):
        assert len(str(inspect.signature(member))) < 250, name
    assert "_SupportsArray" not in pydoc.plain(pydoc.render_doc(kind))
