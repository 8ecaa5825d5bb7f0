"""`plot`: a picture for every kind that fits."""

import numpy as np
import pytest
from PIL import Image

from lunet_export import checkpoint
from lunet_export.training.history import EpochRecord, History
from tests.cli.conftest import run
from tests.networks import network
from tests.test_imports import loaded_by


@pytest.fixture
def grey(tmp_path):
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 17, (400, 4, 4), dtype=np.uint8))
    return tmp_path / "grey.npy"


def plotted(tmp_path, *arguments) -> np.ndarray:
    """The pixels of the picture that the command writes; the folder holds nothing else that is new."""
    (tmp_path / "x.png").unlink(missing_ok=True)
    before = set(tmp_path.iterdir())
    code, out, err = run("plot", *arguments, "-o", tmp_path / "x.png")
    assert (code, out.startswith(f"wrote {tmp_path / 'x.png'}: {arguments[0]} of"), err) == (0, True, "")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "x.png"}
    with Image.open(tmp_path / "x.png") as picture:
        assert (picture.format, min(picture.size) > 200) == ("PNG", True)
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("kind", ["interpolation", "latents"])
@pytest.mark.parametrize("source", ["file", "folder"])
def test_pictures_of_images_and_data(kind, source, model, ready, grey, tmp_path):
    plotted(tmp_path, kind, model if source == "file" else ready, grey, "-n", 3)


def test_samples_are_those_of_sample(ready, tmp_path):
    assert run("sample", ready, "-n", 9, "--seed", 4, "-o", tmp_path / "same.png")[0] == 0
    with Image.open(tmp_path / "same.png") as picture:
        expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(plotted(tmp_path, "samples", ready, "-n", 9, "--seed", 4), expected)


def test_the_first_and_last_column_are_test_images(model, grey, tmp_path):
    """They are the same along both paths, which differ between."""
    arc, chord = (plotted(tmp_path, "interpolation", model, grey, "--path", p) for p in ("spherical", "linear"))
    grids = [picture[70:-14, 12:-12] for picture in (arc, chord)]
    column = grids[0].shape[1] // 11
    for picture in (0, -column):
        part = slice(picture, picture + column or None)
        np.testing.assert_array_equal(grids[0][:, part], grids[1][:, part])
    assert (grids[0] != grids[1]).any()


def test_activations_of_a_file(model, grey, tmp_path):
    plotted(tmp_path, "activations", model, grey)


def test_a_density_and_its_samples(tmp_path):
    path = tmp_path / "plane.pt"
    checkpoint.write_weights(path, network(2, 3), image_shape=None, training={}, examples=None)
    for arguments in (["density", path, "two-moons", "-n", 50], ["samples", path, "-n", 500]):
        plotted(tmp_path, *arguments)
    np.save(tmp_path / "own.npy", np.random.default_rng(0).standard_normal((200, 2)))
    plotted(tmp_path, "density", path, tmp_path / "own.npy")


def test_curves_of_one_run_and_of_several(tmp_path):
    for number in range(2):
        epochs = tuple(EpochRecord(e, 3.0 / e + number, 3.1 / e + number, 0.01) for e in range(1, 9))
        History(1.5, 3.0, epochs).write(tmp_path / f"m{number}.history.json")
    one = plotted(tmp_path, "curve", tmp_path / "m0.pt")
    two = plotted(tmp_path, "curve", tmp_path / "m0.pt", tmp_path / "m1.history.json")
    assert (one.shape == two.shape, (one != two).any()) == (True, True)


def test_a_curve_is_drawn_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        History(1.5, 3.0, (EpochRecord(1, 3.0, 3.1, 0.01),)).write(tmp_path / f"m{number}.history.json")
    refused = {
        ("m0.pt", "m0.pt"): "Expected each run once; m0.pt and m0.pt have the same history.",
        (
            "m0.pt",
            "m1.pt",
            "./m1.history.json",
        ): "Expected each run once; m1.pt and m1.history.json have the same history.",
        ("m0.pt", "digits"): "Expected model files for curve; got the data set digits. Leave it out.",
    }
    for arguments, sentence in refused.items():
        code, _, err = run("plot", "curve", *arguments, "-o", "x.png")
        assert (code, sentence in err) == (2, True), err
    assert not (tmp_path / "x.png").exists()


def test_curves_of_several_data_sets_say_so(tmp_path):
    """They share an axis on which they do not compare; runs of one set say nothing, nor do older files of one."""
    epochs = (EpochRecord(1, 2.0, 2.5, 0.1), EpochRecord(2, 1.0, 2.25, 0.05))
    for name, line, dataset in (("a", 1.5, "digits"), ("b", 1.5, "digits"), ("c", -0.5, "two-moons"), ("old", 9.0, "")):
        History(line, 3.0, epochs, dataset=dataset).write(tmp_path / f"{name}.history.json")

    def complaint(*names: str) -> str:
        files = [tmp_path / f"{name}.pt" for name in names]
        code, out, err = run("plot", "curve", *files, "-o", tmp_path / "x.png")
        assert (code, out) == (0, f"wrote {tmp_path / 'x.png'}: curve of {', '.join(map(str, files))}\n")
        return err

    assert complaint("a", "b") == ""
    assert "bits/dim cannot be compared: a of digits, c of two-moons." in complaint("a", "c")
    assert "old of a data set without a name" in complaint("a", "old")


def test_a_history_is_read_as_it_was_written(tmp_path):
    history = History(1.5, 3.0, (EpochRecord(1, 2.0, 2.5, 0.1), EpochRecord(2, 1.0, 2.25, 0.05)), dataset="digits")
    history.write(tmp_path / "m.history.json")
    assert History.read(tmp_path / "m.history.json") == history
    assert history.best.epoch == 2


def test_plotting_a_folder_loads_neither_torch_nor_onnx(ready, grey, tmp_path):
    code = (
        "from typer.testing import CliRunner\n"
        "from lunet_cli.main import app\n"
        f"for rest in (['interpolation', {str(ready)!r}, {str(grey)!r}], ['samples', {str(ready)!r}]):\n"
        f"    assert CliRunner().invoke(app, ['plot', *rest, '-o', {str(tmp_path / 'x.png')!r}]).exit_code == 0\n"
    )
    assert loaded_by(code) <= {"typer", "matplotlib", "PIL"}
