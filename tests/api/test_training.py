"""`lunet_export.train`, `load` and `save`."""

import numpy as np
import pytest
import torch

import lunet_export
from lunet_export import checkpoint, data
from lunet_export.distribution import Mixture
from lunet_export.errors import BadInputError, CheckpointError, DataError, DataWarning, LunetExportError
from lunet_export.torch_layers import Flow
from tests.api.conftest import OPTIONS, rows
from tests.networks import mixture, network


def tensors(path):
    return {key: value for key, value in checkpoint.load(path).items() if isinstance(value, torch.Tensor)}


def same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_the_model_file_is_that_of_the_command(both):
    assert (both.folder / "python.pt").read_bytes() == (both.folder / "command.pt").read_bytes()
    assert (both.folder / "python.history.json").read_bytes() == (both.folder / "command.history.json").read_bytes()


def test_arrays_data_sets_paths_and_names_are_the_same_rows(both, tmp_path):
    same(
        tensors(both.model),
        tensors(lunet_export.train(rows(), tmp_path / "array.pt", **OPTIONS).path),
    )
    loaded = lunet_export.train(data.load(str(both.rows)), str(tmp_path / "set.pt"), **OPTIONS)
    assert loaded.distribution.digest() == lunet_export.load(both.model).distribution.digest()


def test_another_seed_is_another_model(both):
    assert lunet_export.train(rows(), seed=1, **OPTIONS).distribution.digest() != (
        lunet_export.load(both.model).distribution.digest()
    )


def test_without_an_output_nothing_stays(both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    model = lunet_export.train(both.rows, on_epoch=seen.append, **OPTIONS)
    assert list(tmp_path.iterdir()) == []
    assert (model.path, [record.epoch for record in seen]) == (None, [1, 2])
    assert model.training["test"] == lunet_export.load(both.model).training["test"]
    assert repr(model).startswith("Model(lunet, dim=2, dtype=float32, ")
    assert repr(model).endswith(")")


def test_a_model_is_a_flow_that_trains_on(both):
    flow = lunet_export.load(str(both.model)).flow()
    x = torch.from_numpy(rows(20)).float()
    loss = -flow.log_prob(x).mean()
    loss.backward()
    assert loss.dtype == torch.float32
    again = lunet_export.train(both.rows, begin=flow, epochs=1, init="bend", optimizer="adam")
    assert again.training["begin"] == flow.to_chain().digest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_saved_comes_back(both, tmp_path, dtype):
    flow = lunet_export.load(both.model).flow(str(dtype).removeprefix("torch."))
    model = lunet_export.save(flow, str(tmp_path / "again.pt"))
    assert model.checkpoint.dtype == str(flow.like.dtype).removeprefix("torch.")
    x = torch.zeros(1, 2, dtype=dtype)
    torch.testing.assert_close(model.flow(model.checkpoint.dtype).log_prob(x), flow.log_prob(x))
    copied = lunet_export.save(both.model, tmp_path / "copied.pt")
    same(tensors(both.model), tensors(copied.path))
    assert copied.training == lunet_export.load(both.model).training


def test_a_mixture_is_saved_and_comes_back(tmp_path):
    model = lunet_export.save(mixture(2, 2), tmp_path / "classes.pt")
    assert isinstance(model.distribution, Mixture)
    again = lunet_export.save(model, tmp_path / "again.pt")
    assert again.distribution.names == model.distribution.names
    x = torch.zeros(1, 2, dtype=torch.float64)
    for one, other in zip(again.distribution.components, mixture(2, 2).components, strict=True):
        torch.testing.assert_close(*(Flow.of(chain, dtype=x.dtype).log_prob(x) for chain in (one, other)))


def test_rows_that_spoil_a_density_are_warned_of():
    counts = np.round(rows() * 3)
    with pytest.warns(DataWarning, match=r"column 1 of rows takes \d+ values"):
        lunet_export.train(counts, **{**OPTIONS, "epochs": 1})


@pytest.mark.parametrize(
    ("given", "choices", "error", "said"),
    [
        ("nowhere.npy", {}, DataError, "does not exist"),
        ("two-moon", {}, DataError, "Did you mean two-moons"),
        ([[1.0], [2.0, 3.0]], {}, BadInputError, "of one length"),
        (np.array([["a"]]), {}, DataError, "Expected integers or floats in rows"),
        (np.full((20, 2), np.nan), {}, DataError, "Expected finite numbers in rows"),
        (rows(5), {}, DataError, "at least 10 rows"),
        (3, {}, DataError, "a path or a name; got 3"),
        (rows(), {"blocks": 2.5}, BadInputError, "a whole number for blocks"),
        (rows(), {"blocks": 0}, BadInputError, "a whole number for blocks"),
        (rows(), {"epochs": "2"}, BadInputError, "a whole number for epochs"),
        (rows(), {"seed": -1}, BadInputError, "seed"),
        (rows(), {"alpha": "steep"}, BadInputError, "'learned' or 'layer'; got steep"),
        (rows(), {"whitened": "no"}, BadInputError, "Expected True or False for whitened; got no"),
        (rows(), {"init": 3}, BadInputError, "Expected a name for init; got 3"),
        (rows(), {"output": 3}, BadInputError, "a str or a Path for the model file; got a int"),
        (rows(), {"columns": [1]}, DataError, "they are for files and data frames"),
        (rows(), {"blokcs": 3}, BadInputError, "Did you mean blocks"),
        (rows(), {"flow": "glow"}, BadInputError, "Expected a flow of lunet"),
        (rows(), {"init": "zeros"}, BadInputError, "Expected an init of"),
        (rows(), {"epochs": 0}, BadInputError, "positive number of epochs"),
        (rows(), {"flow": "realnvp"}, BadInputError, "Expected images"),
        (rows(), {"flow": "jko", "per_class": True}, BadInputError, "Train one network of all classes"),
        (rows(), {"begin": 7}, BadInputError, "Expected a model: a Model"),
        (rows(), {"resume": True}, BadInputError, "Expected an output with resume"),
        (rows(), {"device": "abacus"}, BadInputError, "Expected a device"),
    ],
)
def test_bad_input_is_one_sentence(given, choices, error, said):
    with pytest.raises(error, match=said) as caught:
        lunet_export.train(given, **choices)
    assert isinstance(caught.value, LunetExportError)
    assert "\n" not in str(caught.value)


def test_files_are_not_replaced_in_silence(both):
    with pytest.raises(BadInputError, match="exists already"):
        lunet_export.train(both.rows, both.model, **OPTIONS)
    with pytest.raises(BadInputError, match="exists already"):
        lunet_export.save(network(2, 2), both.model)
    with pytest.raises(BadInputError, match=r"ends in \.pt"):
        lunet_export.save(network(2, 2), both.folder / "model.bin")
    with pytest.raises(CheckpointError):
        lunet_export.load(both.rows)
    with pytest.raises(BadInputError, match="none or paper"):
        lunet_export.load(both.model, preprocess="images")


def test_columns_of_a_file_are_chosen_by_name_or_number(tmp_path):
    path = tmp_path / "named.csv"
    np.savetxt(path, np.column_stack([np.sin(rows()[:, 0]), rows()]), delimiter=",", header="a,b,c", comments="")
    models = [lunet_export.train(path, columns=columns, **OPTIONS) for columns in (["b", "c"], [2, 3], ["c", "b"])]
    one, same_one, other = (model.distribution.digest() for model in models)
    assert one == same_one != other
