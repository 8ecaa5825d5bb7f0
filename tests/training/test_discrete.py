"""Values that repeat as those of no continuous variable do are found, whatever repeats them; nothing else is."""

import numpy as np
import pytest
from scipy import stats

from lunet_export import data
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.training.discrete import AGREEMENT, dequantized, repeated_rows, repeats_of


def normal(rows: int, columns: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns))


def beside(values, seed: int = 0) -> np.ndarray:
    return np.column_stack([normal(len(values), 1, seed), values])


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed + 100)


CONTINUOUS = {
    "float64": normal(20_000),
    "float32": normal(20_000).astype(np.float32).astype(float),
    "float32 between 0 and 1": random().random((20_000, 2), dtype=np.float32).astype(float),
    "20 rows": normal(20),
    "20 rows of three digits": np.round(normal(20), 2),
    "four digits, a thousand rows": np.round(normal(1000), 3),
    "four digits, thousands of rows": np.round(normal(8000), 3),
    "four digits, many rows": np.round(normal(20_000), 3),
    "four digits of large numbers": np.round(7e4 + 1e4 * normal(8000), -1),
    "whole numbers in wide ranges": np.round(50_000 + 10_000 * normal(8000)),
    "columns that hang together": np.round(normal(8000, 1) @ [[1.0, 0.9]] + 0.02 * normal(8000), 3),
    "rows that were copied": np.concatenate([normal(3000), normal(3000)]),
    "one column": normal(500, 1),
    "an atom of one in a hundred": beside(np.where(random().random(8000) < 0.01, 0, normal(8000, 1)[:, 0])),
}
NAMES = [name for name in data.NAMES if name not in ("digits", "mnist", "fashion-mnist")]


@pytest.mark.parametrize("rows", CONTINUOUS.values(), ids=CONTINUOUS)
def test_what_may_be_continuous_is_not_named(rows):
    assert repeats_of(rows) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_sets_of_known_density_are_continuous(name):
    rows = data.load(name).train
    assert (repeats_of(rows), repeated_rows(rows)) == ([], 0)


DISCRETE = {
    "two values": (lambda n: random().integers(0, 2, n), 1.0, True),
    "counts": (lambda n: random().poisson(3, n), 1.0, True),
    "counts with a long tail": (lambda n: np.floor(random().pareto(1, n)), 1.0, True),
    "one decimal": (lambda n: np.round(random().standard_normal(n), 1), 0.1, True),
    "two decimals": (lambda n: np.round(random().standard_normal(n), 2), 0.01, True),
    "grey levels as floats": (lambda n: random().integers(0, 256, n) / 255, 1 / 255, True),
    "sums of rounded numbers": (
        lambda n: random().integers(0, 9, n) * 0.1 + random(1).integers(0, 9, n) * 0.2,
        0.1,
        True,
    ),
    "codes": (lambda n: random().choice([0, 1.7, 9.3], n), 1.7, False),
    "mostly zero counts": (lambda n: np.where(random().random(n) < 0.7, 0, random().poisson(9, n)), 1.0, True),
}


@pytest.mark.parametrize("rows", [300, 8000])
@pytest.mark.parametrize(("make", "step", "even"), DISCRETE.values(), ids=DISCRETE)
def test_values_on_a_grid_are_named_with_its_step(make, step, even, rows):
    values = make(rows).astype(float)
    (found,) = repeats_of(beside(values))
    distinct, counts = np.unique(np.round(values, 9), return_counts=True)
    assert (found.column, found.rows, found.distinct, found.count) == (1, rows, len(distinct), counts.max())
    assert found.value == pytest.approx(distinct[counts.argmax()], abs=1e-9)
    assert (found.step, found.even) == (pytest.approx(step), even)


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-9, 1e9, 1e307])
def test_the_scale_of_a_column_does_not_matter(scale):
    values = random().integers(-9, 10, 300) * scale
    (found,) = repeats_of(beside(values))
    assert (found.step, found.even, found.distinct) == (pytest.approx(scale, rel=1e-3), True, 19)
    assert found.count == (values == found.value).sum()
    assert repeats_of(beside(normal(300, 1, 7)[:, 0] * scale)) == [] or scale == 1e-320  # which has no digits


@pytest.mark.parametrize("rows", [150, 8000])
def test_a_value_among_continuous_ones_is_named_without_a_step(rows):
    values = np.where(random().random(rows) < 0.3, 0.0, np.exp(normal(rows, 1)[:, 0]))
    for others in (values, np.round(values, 3), np.clip(values, 0, 5)):
        (found,) = repeats_of(beside(others, seed=1))
        assert (found.column, found.value, found.count, found.step) == (1, 0.0, (others == 0).sum(), None)


def test_false_alarms_are_as_rare_as_promised():
    """A variable that agrees in one pair of a thousand is the worst that may pass: pairs follow Poisson's law."""
    for rows in (20, 200, 5000):
        cells = random(rows).integers(0, round(1 / AGREEMENT), (rows, 400)).astype(float)
        assert repeats_of(cells) == []
    expected = AGREEMENT * 200 * 199 / 2
    largest = int(stats.poisson.isf(1e-6, expected))  # pairs that may agree among 200 rows
    for pairs, named in ((largest, 0), (largest + 2, 1)):
        values = np.arange(200.0)
        values[1 : 2 * pairs : 2] = values[0 : 2 * pairs : 2]
        assert len(repeats_of(beside(values))) == named, pairs


@pytest.mark.parametrize("rows", [60, 8000])
def test_copied_rows_are_counted(rows):
    some = normal(rows)
    assert repeated_rows(random().permutation(np.concatenate([some, some[: rows // 2]]))) == rows // 2
    drawn = some[random().integers(0, rows, rows)]
    assert repeated_rows(drawn) == rows - len(np.unique(drawn, axis=0))


NOT_COPIED = {
    **CONTINUOUS,
    "one decimal": np.round(normal(8000), 1),
    "two decimals": np.round(normal(8000), 2),
    "counts": random().poisson(2, (8000, 3)).astype(float),
    "a few by chance": np.concatenate([normal(500), normal(500)[:5]]),
}
del NOT_COPIED["rows that were copied"]


@pytest.mark.parametrize("rows", NOT_COPIED.values(), ids=NOT_COPIED)
def test_rows_that_agree_by_chance_are_no_copies(rows):
    assert repeated_rows(rows) == 0


def test_a_copied_row_with_another_zero_is_a_copy():
    rows = normal(40, 3)
    rows[:, 0] = 0.0
    assert repeated_rows(np.concatenate([rows, rows * [-1, 1, 1]])) == 40


def discrete(n: int = 400) -> Dataset:
    rows = np.column_stack([normal(n, 1), random().poisson(3, n), np.round(normal(n, 1, 5), 1)])
    return Dataset("mine", rows[: n // 2], rows[n // 2 : 3 * n // 4], rows[3 * n // 4 :])


def test_noise_is_as_wide_as_a_step_and_rounding_takes_it_away():
    plain = discrete()
    noisy, found = dequantized(plain, seed=3)
    assert [(entry.column, round(entry.step, 9)) for entry in found] == [(1, 1.0), (2, 0.1)]
    assert repeats_of(noisy.train) == []
    for name in ("train", "valid", "test"):
        before, after = getattr(plain, name), getattr(noisy, name)
        np.testing.assert_array_equal(after[:, 0], before[:, 0])
        np.testing.assert_array_equal(np.round(after[:, 1]), before[:, 1])
        np.testing.assert_allclose(np.round(after[:, 2], 1), before[:, 2], atol=1e-12)
    difference = (noisy.train - plain.train)[:, 1:] / [1, 0.1]
    assert np.abs(difference.mean(axis=0)).max() < 5 * np.sqrt(1 / 12 / 200)
    assert (difference.min() >= -0.5 - 1e-9, difference.max() <= 0.5 + 1e-9) == (True, True)


def test_noise_is_repeated_by_its_seed_and_new_in_every_split():
    one, same, other = (dequantized(discrete(), seed)[0] for seed in (1, 1, 2))
    assert one.digest() == same.digest() != other.digest()
    plain = discrete()
    ours, theirs = (one.valid - plain.valid)[:, 1], (one.train - plain.train)[: len(one.valid), 1]
    assert np.abs(ours - theirs).min() > 0


def test_continuous_columns_get_no_noise_and_grey_levels_are_refused():
    rows = normal(50)
    noisy, found = dequantized(Dataset("mine", rows, rows, rows), seed=0)
    np.testing.assert_array_equal(noisy.train, rows)
    assert found == []
    with pytest.raises(BadInputError, match=r"^Expected vectors for `dequantize`; digits holds grey levels, which alw"):
        dequantized(data.load("digits"), seed=0)
