"""Labels: what they are, where they lie, and when it matters that they are missing."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from lunet_export import data
from lunet_export.data import Dataset, Labels, idx
from lunet_export.errors import DataError
from tests.data.test_data import write_idx


def write_labels(path: Path, labels: np.ndarray, *, magic: int = 0x801) -> Path:
    content = struct.pack(">II", magic, len(labels)) + labels.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


IMAGES = np.random.default_rng(0).integers(0, 256, (200, 4, 5), dtype=np.uint8)
IMAGES[:, 0, 0] = np.arange(200)  # tells the rows apart
LABELS = np.arange(200) % 10
DIGITS_DIGEST = "b0bda42187aaa2f8cc01a2d832aa137c55ad4792883cf055d61f015f4817087f"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "_VALIDATION_IMAGES", 100)
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", IMAGES[:10])
    write_labels(tmp_path / "train-labels-idx1-ubyte.gz", LABELS)
    write_labels(tmp_path / "t10k-labels-idx1-ubyte", LABELS[:10])
    return tmp_path


def test_labels_go_with_their_images(files):
    mnist = data.load("mnist", data_dir=files)
    labels = mnist.classes()
    assert labels.names == tuple("0123456789")
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(getattr(mnist, split)[:, 0] % 10, getattr(labels, split))
    names = data.load("fashion-mnist", data_dir=files).classes().names
    assert (names[0], names[9], len(names)) == ("T-shirt/top", "Ankle boot", 10)


def test_the_rows_of_a_class_are_those_with_its_label(files):
    mnist = data.load("mnist", data_dir=files)
    part = mnist.of_class(3)
    for split in ("train", "valid", "test"):
        rows = getattr(mnist, split)
        np.testing.assert_array_equal(getattr(part, split), rows[rows[:, 0] % 10 == 3])
    assert (part.name, part.image_shape, part.preprocessing) == ("mnist, class 3", (4, 5), mnist.preprocessing)
    assert sum(len(mnist.of_class(k).train) for k in range(10)) == len(mnist.train)
    assert part.digest() != mnist.digest()


MISSING = {
    "missing": (lambda folder: (folder / "t10k-labels-idx1-ubyte").unlink(), "Expected t10k-labels-idx1-ubyte or"),
    "of another set": (
        lambda folder: write_labels(folder / "t10k-labels-idx1-ubyte", LABELS[:9]),
        "Expected 10 labels in .*one per image; got 9",
    ),
    "images": (
        lambda folder: write_idx(folder / "t10k-labels-idx1-ubyte", IMAGES[:10]),
        r"IDX file of labels \(magic 0x00000801\).*begins 0x00000803",
    ),
    "truncated": (
        lambda folder: (folder / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, 10) + b"123"),
        "Expected 10 labels in .* by its header; got 3",
    ),
    "empty": (lambda folder: (folder / "t10k-labels-idx1-ubyte").write_bytes(b""), "begins 0x00000000"),
    "damaged gzip": (
        lambda folder: (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8bxx"),
        "Expected a whole gzip file",
    ),
    "no such class": (
        lambda folder: write_labels(folder / "t10k-labels-idx1-ubyte", np.full(10, 10)),
        r"Expected labels of 0 \.\. 9; got 10",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), MISSING.values(), ids=MISSING)
def test_labels_that_are_missing_or_damaged_matter_only_where_they_are_needed(files, damage, sentence):
    before = data.load("mnist", data_dir=files)
    damage(files)
    mnist = data.load("mnist", data_dir=files)
    assert mnist.digest() == before.digest()
    for use in (mnist.classes, lambda: mnist.of_class(0)):
        with pytest.raises(DataError, match=sentence):
            use()


def test_sets_without_labels_say_so():
    with pytest.raises(DataError, match="Expected class labels; this data set has none"):
        data.load("two-moons").classes()


def test_a_class_without_rows_is_named():
    rows, labels = np.zeros((4, 2)), np.array([0, 0, 1, 0])
    few = Dataset("few", rows, rows, rows, labels=Labels(("a", "b", "c"), labels, labels, 0 * labels))
    with pytest.raises(DataError, match="rows of class b in every split of few; test has none"):
        few.of_class(1)


def test_the_digits_are_as_they_were_and_have_labels():
    """The digest is that of the set before it had labels: old resume files go on."""
    digits = data.load("digits")
    assert digits.digest() == DIGITS_DIGEST
    assert [len(digits.of_class(k).train) for k in range(10)] == np.bincount(digits.classes().train).tolist()
    from sklearn.datasets import load_digits

    images = load_digits()
    known = {image.astype(np.uint8).tobytes(): label for image, label in zip(images.images, images.target, strict=True)}
    labels = digits.classes()
    for split in ("train", "valid", "test"):
        assert [known[row.tobytes()] for row in getattr(digits, split)] == getattr(labels, split).tolist()


@pytest.mark.data
def test_the_real_labels_are_what_they_are_known_to_be():
    folder = os.environ.get("LUNET_DATA_DIR")
    if not folder:
        pytest.skip("needs MNIST and Fashion-MNIST: set LUNET_DATA_DIR to the folder that holds them")
    counts = {
        "mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        "fashion-mnist": [1000] * 10,
    }
    for name, expected in counts.items():
        labels = data.load(name, data_dir=Path(folder)).classes()
        assert np.bincount(labels.test).tolist() == expected
        assert len(labels.train) == 55000
