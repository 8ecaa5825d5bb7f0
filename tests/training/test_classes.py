"""One run per class: the same as runs of their own, resumable between classes and inside one, judged as a mixture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.data import Dataset, Labels
from lunet_export.errors import BadInputError, CheckpointError, DataError
from lunet_export.layers import LU
from lunet_export.preprocessing import Logit
from lunet_export.training import ClassPaths, FitSettings, train, train_classes
from lunet_export.training.lunet.architecture import LUNetArchitecture
from lunet_export.training.rows import gaussian_of, rows_to_test
from tests import tolerances

CPU = torch.device("cpu")
SETTINGS = FitSettings(epochs=3, batch_size=50, learning_rate=2e-3, fallback=False)
NAMES = ("T-shirt/top", "b", "c")


def labelled(*, levels: int | None = None) -> Dataset:
    """Three clouds of vectors or images, of different sizes, that lie one on another in part."""
    rng = np.random.default_rng(0)

    def split(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.permutation(np.repeat([0, 1, 2], [2 * n, n, n]))
        rows = rng.standard_normal((len(labels), 4)) + np.array([[0, 0, 0, 0], [2, 1, 0, 0], [0, -1, 2, 0]])[labels]
        return (np.clip(np.floor(2 * rows + 8), 0, 15).astype(np.uint8) if levels else rows), labels

    (train_rows, *others), labels = zip(*map(split, (100, 30, 40)), strict=True)
    preprocessing, shape = (Logit(levels, 0.1), (2, 2)) if levels else (None, None)
    return Dataset("clouds", train_rows, *others, preprocessing, shape, labels=Labels(NAMES, *labels))


VECTORS, IMAGES = labelled(), labelled(levels=16)


class Interrupted(Exception):
    """Stands for a kill."""


def run(path, data=VECTORS, *, resume=False, stop=None, settings=SETTINGS):
    """`stop`: the class and the epoch after which it is interrupted; epoch 0 is before the first step of the class."""
    current = []

    def interrupt(epoch):
        if stop == (current[-1], epoch):
            raise Interrupted

    return train_classes(
        data,
        lambda part: settings,
        path,
        architecture=LUNetArchitecture(2),
        device=CPU,
        resume=resume,
        on_class=lambda number, part, given: current.append(number),
        on_start=lambda line, trainer: interrupt(len(trainer.history)),
        on_step=lambda step, bits: None,
        on_epoch=lambda record: interrupt(record.epoch),
    )


@pytest.fixture(scope="module", params=[VECTORS, IMAGES], ids=["vectors", "images"])
def done(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("classes") / "model.pt"
    return request.param, path, run(path, request.param)


def test_each_class_is_trained_as_by_itself(done, tmp_path):
    data, path, result = done
    alone = train(
        data.of_class(1),
        SETTINGS,
        tmp_path / "alone.pt",
        architecture=LUNetArchitecture(2),
        device=CPU,
        resume=False,
        on_start=lambda line, trainer: None,
        on_step=lambda step, bits: None,
        on_epoch=lambda record: None,
    )
    assert result.classes[1] == alone
    read = checkpoint.read(path)
    assert read.mixture.components[1].digest() == checkpoint.read(tmp_path / "alone.pt").weights.digest()
    assert read.members[1].training["dataset"] == "clouds, class b"
    assert (read.mixture.names, read.mixture.priors) == (NAMES, (0.5, 0.25, 0.25))


def test_a_run_leaves_its_files_named_by_number(done):
    _, path, _ = done
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.classes", "model.pt"]
    names = {f"{number}{suffix}" for number in range(3) for suffix in (".pt", ".resume.pt", ".history.json", ".png")}
    assert {file.name for file in (path.parent / "model.classes").iterdir()} == names


def test_the_figures_are_those_of_the_mixture(done):
    data, path, result = done
    mixture, labels = checkpoint.read(path).mixture, data.classes().test
    draws = 10 if data.preprocessing else 1
    each = [tolerances.of_classes(mixture, rows_to_test(data, number))["log_prob"] for number in range(draws)]
    allowed = np.mean(each) / (4 * np.log(2))

    def doubtful(values, priors):
        """The share of rows whose two likeliest classes are as near to each other as float32 errs."""
        first, second = np.sort(values + np.log(priors), axis=1)[:, -1:-3:-1].T
        return (first - second <= tolerances.TWO * np.max(each)).mean()

    assert abs(result.test - result.gaussian_test) > allowed
    gaussians = [gaussian_of(data.of_class(number)) for number in range(3)]
    for densities, test, accuracy, most in (
        (lambda x: reference.class_log_prob(mixture, x), result.test, result.accuracy, allowed),
        (
            lambda x: np.stack([gaussian.log_prob(x) for gaussian in gaussians], axis=1),
            result.gaussian_test,
            result.gaussian_accuracy,
            tolerances.of_roundings(100, result.gaussian_test, "float64"),
        ),
    ):
        found = [densities(rows_to_test(data, number)) for number in range(draws)]
        bits = [-reference.mixture_log_prob(values, mixture.priors).mean() / (4 * np.log(2)) for values in found]
        right = [(reference.posterior(values, mixture.priors).argmax(axis=1) == labels).mean() for values in found]
        # The mixture may be off by as much as the worst of its classes, and a row on the border be called otherwise.
        assert abs(test - np.mean(bits)) <= most
        assert abs(accuracy - np.mean(right)) <= np.mean([doubtful(values, mixture.priors) for values in found])
    assert (result.test_draws, result.test_nats) == (draws, pytest.approx(result.test * 4 * np.log(2)))
    assert 0.7 < result.gaussian_accuracy < 1
    record = checkpoint.read(path).training
    assert (record["accuracy"], record["test"], record["dataset"]) == (result.accuracy, result.test, "clouds")


@pytest.mark.parametrize("stop", [(0, 2), (1, 0), (1, 1), (2, 3)], ids=str)
def test_an_interrupted_run_goes_on_bit_by_bit(done, tmp_path, stop):
    data, path, whole = done
    with pytest.raises(Interrupted):
        run(tmp_path / "model.pt", data, stop=stop)
    assert not (tmp_path / "model.pt").exists()
    assert run(tmp_path / "model.pt", data, resume=True) == whole
    ours, theirs = (checkpoint.read(file).mixture.digest() for file in (tmp_path / "model.pt", path))
    assert ours == theirs
    for number in range(3):
        histories = [ClassPaths(file).of_class(number).history.read_text() for file in (tmp_path / "model.pt", path)]
        assert histories[0] == histories[1]


def test_a_finished_run_is_resumed_to_the_same(done, tmp_path):
    data, _, whole = done
    first = run(tmp_path / "model.pt", data)
    before = (tmp_path / "model.pt").read_bytes()
    assert run(tmp_path / "model.pt", data, resume=True) == first == whole
    assert checkpoint.read(tmp_path / "model.pt").training
    assert (tmp_path / "model.pt").read_bytes() == before


def test_resume_refuses_nothing_and_other_settings(tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(CheckpointError, match=r"0.resume.pt to resume from; it does not exist. Train without `resume`"):
        run(path, resume=True)
    with pytest.raises(Interrupted):
        run(path, stop=(1, 1))
    with pytest.raises(CheckpointError, match=r"differs: epochs 3 \(now 4\)"):
        run(path, resume=True, settings=FitSettings(epochs=4, batch_size=50, learning_rate=2e-3, fallback=False))


def test_a_new_run_forgets_an_older_one(tmp_path):
    """Interrupted and resumed, it must not go on from the older run's last classes."""
    path = tmp_path / "model.pt"
    run(path, settings=FitSettings(epochs=1, batch_size=50, learning_rate=2e-3, fallback=False))
    with pytest.raises(Interrupted):
        run(path, stop=(0, 1))
    assert [ClassPaths(path).of_class(number).resume.exists() for number in range(3)] == [True, False, False]
    assert run(path, resume=True).classes[2].epochs == 3


def test_data_without_labels_or_rows_are_refused_before_anything_is_written(tmp_path):
    plain = Dataset("plain", VECTORS.train, VECTORS.valid, VECTORS.test)
    with pytest.raises(DataError, match="Expected class labels"):
        run(tmp_path / "a" / "model.pt", plain)
    labels = VECTORS.classes()
    empty = Dataset(
        "empty",
        plain.train,
        plain.valid,
        plain.test,
        labels=Labels((*NAMES, "d"), labels.train, labels.valid, labels.test),
    )
    with pytest.raises(DataError, match="rows of class d in every split"):
        run(tmp_path / "a" / "model.pt", empty)
    with pytest.raises(BadInputError, match=r"ends in \.pt"):
        run(tmp_path / "a" / "model.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_a_gaussian_keeps_its_gaussian(tmp_path):
    """Each class by itself: these clouds are Gaussians, and a network learns nothing in one epoch that is better."""
    result = run(tmp_path / "m.pt", settings=replace(SETTINGS, epochs=1, fallback=True))
    assert [entry.kept for entry in result.classes] == ["gaussian"] * 3
    mixture = checkpoint.read(tmp_path / "m.pt").mixture
    assert [len(network.of(LU)) for network in mixture.components] == [1] * 3
    allowed = tolerances.of_classes(mixture, rows_to_test(VECTORS, 0))["log_prob"].mean() / (4 * np.log(2))
    assert abs(result.test - result.gaussian_test) <= allowed  # the mixture of the Gaussians, in float32
