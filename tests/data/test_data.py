"""Data sets: what they hold, and files that are not what they should be."""

import gzip
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from lunet_export import data, noise
from lunet_export.data import idx, toy
from lunet_export.errors import DataError


def write_idx(path: Path, images: np.ndarray, *, magic: int = 0x803) -> Path:
    content = struct.pack(">IIII", magic, *images.shape) + images.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (30, 4, 5), dtype=np.uint8)


@pytest.mark.parametrize("name", toy.DENSITIES)
def test_toy_sets_are_fixed(name):
    first, second = data.load(name), data.load(name)
    assert (first.train.shape, first.valid.shape, first.test.shape) == ((8000, 2), (1000, 2), (10000, 2))
    np.testing.assert_array_equal(first.test, second.test)
    assert first.preprocessing is None


def test_digits_are_split_for_good():
    digits = data.load("digits")
    assert (len(digits.train), len(digits.valid), len(digits.test)) == (1297, 200, 300)
    assert (digits.train.dtype, digits.train.max(), digits.image_shape) == (np.uint8, 16, (8, 8))
    rows = {row.tobytes() for row in digits.train}
    assert not rows & {row.tobytes() for row in digits.test}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", ["mnist", "."])
def test_idx_files_are_found_and_read(tmp_path, images, suffix, place, monkeypatch):
    monkeypatch.setattr(idx, "_VALIDATION_IMAGES", 5)
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    write_idx(folder / f"train-images-idx3-ubyte{suffix}", images)
    write_idx(folder / f"t10k-images-idx3-ubyte{suffix}", images[:10])
    mnist = data.load("mnist", data_dir=tmp_path)
    assert (mnist.train.shape, mnist.valid.shape, mnist.image_shape) == ((25, 20), (5, 20), (4, 5))
    np.testing.assert_array_equal(mnist.test, images[:10].reshape(10, 20))


@pytest.mark.parametrize(
    ("name", "known_as"), [("mnist", "the MNIST database"), ("fashion-mnist", r"Fashion-MNIST \(Zalando Research\)")]
)
def test_a_missing_idx_file_says_which_and_of_what(name, known_as, tmp_path):
    """By its name: MNIST's own address no longer serves the files."""
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte or .*a file of {known_as}.*`data_dir`") as error:
        data.load(name, data_dir=tmp_path)
    assert re.search(r"\w\.(com|org)\b", str(error.value).replace(str(tmp_path), "")) is None


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:100], "Expected 600 pixel bytes .* got 84"),
        (lambda content: content + b"x", "Expected 600 pixel bytes .* got 601"),
        (lambda content: b"", "Expected an IDX file of images"),
        (lambda content: b"\0\0\x08\x01" + content[4:], "begins 0x00000801"),
        (lambda content: gzip.compress(content)[:50], "Expected a whole gzip file"),
        (lambda content: struct.pack(">IIII", 0x803, 2**31, 2**31, 2**31), "got 0"),
    ],
)
def test_damaged_idx_files_get_a_sentence(tmp_path, images, damage, sentence):
    path = write_idx(tmp_path / "images", images)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=sentence):
        idx.read_images(path)


@pytest.mark.data
def test_the_real_files_are_what_they_are_known_to_be():
    folder = os.environ.get("LUNET_DATA_DIR")
    if not folder:
        pytest.skip("needs MNIST and Fashion-MNIST: set LUNET_DATA_DIR to the folder that holds them")
    for name in ("mnist", "fashion-mnist"):
        loaded = data.load(name, data_dir=Path(folder))
        assert (len(loaded.train), len(loaded.valid), len(loaded.test), loaded.dim) == (55000, 5000, 10000, 784)
        assert (loaded.test.min(), loaded.test.max()) == (0, 255)


def test_users_floats_are_vectors(tmp_path):
    array = np.random.default_rng(0).standard_normal((40, 3))
    np.save(tmp_path / "mine.npy", array)
    np.savez(tmp_path / "mine.npz", x=array, y=np.zeros(3))
    np.savetxt(tmp_path / "mine.csv", array, delimiter=",", header="a,b,c", comments="")
    for suffix in ("npy", "npz", "csv"):
        mine = data.load(str(tmp_path / f"mine.{suffix}"))
        assert (mine.train.shape, len(mine.valid), len(mine.test)) == ((32, 3), 4, 4)
        assert (mine.preprocessing, mine.name, mine.public) == (None, "mine", False)


def test_users_integers_are_images(tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).integers(0, 16, (40, 3, 4)))
    mine = data.load(str(tmp_path / "mine.npy"), levels=16)
    assert (mine.preprocessing.levels, mine.image_shape, mine.train.shape) == (16, (3, 4), (32, 12))
    x = mine.continuous(mine.test, noise.uniform(0, range(4), 12).astype(np.float32))
    np.testing.assert_array_equal(np.floor(x), mine.test)
    with pytest.raises(DataError, match=r"Expected grey levels 0 \.\. 7"):
        data.load(str(tmp_path / "mine.npy"), levels=8)


def as_other(path: Path, suffix: str, save) -> None:
    """A file of one kind under the name of another."""
    save(path.with_suffix(suffix), np.zeros((20, 2)))
    path.with_suffix(suffix).rename(path)


def test_integers_in_a_csv_are_grey_levels_only_when_asked(tmp_path):
    (tmp_path / "a.csv").write_text("\n".join("1,2,3" for _ in range(20)))
    assert data.load(str(tmp_path / "a.csv")).preprocessing is None
    assert data.load(str(tmp_path / "a.csv"), levels=4).preprocessing.levels == 4
    assert data.arrays.read(tmp_path / "a.csv").dtype.kind == "i"  # so that `score` adds noise for an image model


def test_a_csv_keeps_every_row(tmp_path):
    """With a byte order mark as spreadsheets write it, and with a header; a damaged first row is no header."""
    body = "\n".join("1.5,2" for _ in range(20))
    for text in ("\ufeff" + body, "a,b\n" + body, "\ufeffa,b\n" + body):
        (tmp_path / "a.csv").write_text(text, encoding="utf-8")
        assert data.arrays.read(tmp_path / "a.csv").shape == (20, 2)
    (tmp_path / "a.csv").write_text("1.0.0,2\n" + body)
    with pytest.raises(DataError, match="is not"):
        data.arrays.read(tmp_path / "a.csv")


def test_idx_files_of_different_sets_are_refused(tmp_path, images, monkeypatch):
    monkeypatch.setattr(idx, "_VALIDATION_IMAGES", 5)
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images[:, :3])
    with pytest.raises(DataError, match="of different sets"):
        data.load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("a.npy", lambda path: None, "does not exist"),
        ("a.npy", lambda path: path.write_bytes(b""), "is not"),
        ("a.npy", lambda path: path.write_bytes(b"hello"), "is not"),
        ("a.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x06\x00(3L, (\n"), "is not"),
        ("a.npy", lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True), "is not"),
        ("a.npy", lambda path: np.save(path, np.zeros((40, 2), dtype=complex)), "Expected integers or floats"),
        ("a.npy", lambda path: np.save(path, np.zeros(40)), r"Expected rows \(N, D\)"),
        ("a.npy", lambda path: np.save(path, np.zeros((5, 2))), "at least 10 rows"),
        ("a.npy", lambda path: np.save(path, np.zeros((0, 2))), "an empty array"),
        (
            "a.npy",
            lambda path: np.save(path, np.full((20, 2), np.nan)),
            "row 1, column 1, both counted from one, is nan",
        ),
        (
            "a.npz",
            lambda path: np.savez(path, a=np.zeros(3), b=np.zeros(3)),
            "one array in .*, or one called x; got a, b",
        ),
        ("a.csv", lambda path: path.write_text("1,2\n3\n"), "is not"),
        ("a.csv", lambda path: path.write_text(""), "is not"),
        ("a.npy", lambda path: as_other(path, ".npz", np.savez), "is not"),
        ("a.npz", lambda path: as_other(path, ".npy", np.save), "is not"),
        ("a.npy", lambda path: np.save(path, np.float64(3)), "Expected an array of rows"),
        ("a.npy", lambda path: np.save(path, np.zeros((20, 3, 4, 5), np.uint8)), "channels last"),
        ("a.csv", lambda path: path.write_text("a,b\nc,d\n"), "is not"),
        ("a.txt", lambda path: path.write_text("1"), "Expected a data set"),
    ],
)
def test_bad_files_get_a_sentence(tmp_path, name, make, sentence):
    make(tmp_path / name)
    with pytest.raises(DataError, match=sentence):
        data.load(str(tmp_path / name))


def test_an_unknown_set_names_the_known_ones():
    with pytest.raises(DataError, match="two-moons, checkerboard, rings, rose, tree, digits, mnist, fashion-mnist"):
        data.load("cifar")


@pytest.mark.parametrize(
    ("name", "nodes"),
    {"mixture": 400, "eight-gaussians": 400, "two-moons": 400, "rings": 200, "rose": 180, "tree": 220}.items(),
)
def test_toy_densities_integrate_to_one_and_are_those_of_the_points(name, nodes):
    points = data.load(name).test
    low, high = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
    axes = [np.linspace(a, b, nodes) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    density = np.exp(np.concatenate([toy.log_density(name, part) for part in np.array_split(grid, 40)])) * cell
    assert density.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(density @ grid, points.mean(axis=0), atol=0.2)
    entropy, mean = -(density * np.log(np.maximum(density, 1e-300) / cell)).sum(), -toy.log_density(name, points).mean()
    assert mean == pytest.approx(entropy, abs=0.05)


def test_the_checkerboard_is_uniform_on_its_squares():
    points = data.load("checkerboard").test
    assert (toy.log_density("checkerboard", points) == -np.log(8)).all()
    middles = np.stack(np.meshgrid(np.arange(-2.5, 3), np.arange(-2.5, 3)), axis=-1).reshape(-1, 2)
    inside = np.exp(toy.log_density("checkerboard", middles)) > 0
    assert np.exp(toy.log_density("checkerboard", middles)).sum() == pytest.approx(1)
    assert sorted(map(tuple, middles[inside])) == sorted(
        (x, y)
        for x in (-1.5, -0.5, 0.5, 1.5)
        for y in ((-2, 0) if np.floor(x) % 2 == 0 else (-1, 1))
        for y in [y + 0.5]
    )
