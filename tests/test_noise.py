"""The noise that every language repeats: known answers, and independence of everything but seed, row and column."""

import re

import numpy as np
import pytest

from lunet_export import noise
from lunet_export.artifact import section
from lunet_export.errors import BadInputError
from tests import tolerances

#: From the Random123 library's file of known answers (kat_vectors, philox4x32 with 10 rounds).
KNOWN_ANSWERS = [
    ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, words):
    assert noise.philox4x32(np.array(counter, dtype=np.uint64), key).tolist() == words


def stated(text: str):
    """Philox as the text of the format says it: its block of three lines, as often as it says, read as Python."""
    (block,), (rounds,) = (
        re.findall(r"```text\n(.*?)```", text, re.DOTALL),
        re.findall(r"repeats these steps (\d+) times", text),
    )
    for word, operator in {"2^32": "2**32", " div ": " // ", " mod ": " % ", " xor ": " ^ "}.items():
        block = block.replace(word, operator)

    def words(counter: list[int], key: tuple[int, int]) -> list[int]:
        values = dict(zip(("c0", "c1", "c2", "c3", "k0", "k1"), [*counter, *key], strict=True))
        for _ in range(int(rounds)):
            exec(block, {}, values)
        return [values[f"c{number}"] for number in range(4)]

    return words


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_the_format_alone_says_how_words_are_made(counter, key, words):
    text = section("Noise")
    assert stated(text)(counter, key) == words
    for said, wrong in (
        ("0xD2511F53", "0xD2511F52"),
        ("0xCD9E8D57", "0xCD9E8D47"),
        ("0x9E3779B9", "0x8E3779B9"),
        ("0xBB67AE85", "0xBB67AE86"),
        ("10 times", "9 times"),
        ("c3 xor k1", "c1 xor k1"),
    ):
        assert said in text
        assert stated(text.replace(said, wrong))(counter, key) != words


def test_normal_is_the_stated_transform():
    """Spelled once more, number by number, as another language would write it."""
    seed, row, dim = 2**40 + 7, 5, 6
    got = noise.normal(seed, range(row, row + 1), dim)[0]
    for column in range(dim):
        counter = np.array([column // 4, row, 0, 0], dtype=np.uint64)
        words = noise.philox4x32(counter, (seed % 2**32, seed // 2**32)).tolist()
        first, second = words[2 * (column % 4 // 2) :][:2]
        radius = np.sqrt(-2 * np.log((first + 0.5) / 2**32))
        angle = 2 * np.pi * second / 2**32
        expected = radius * (np.sin(angle) if column % 2 else np.cos(angle))
        # The same operations; of log, sin and cos each side has its own, within a unit in the last place, and the angle
        # is rounded twice, up to 2 pi of which goes into a sine near 0.
        allowed = tolerances.of_roundings(8, expected, "float64") + tolerances.of_roundings(
            4, radius * 2 * np.pi, "float64"
        )
        tolerances.assert_within(got[column], expected, allowed)
        assert tolerances.beyond(got[column] + 1e-12, expected, allowed) > 1


@pytest.mark.parametrize("draw", [noise.normal, noise.uniform])
def test_numbers_depend_on_seed_row_and_column_only(draw):
    whole = draw(3, range(10), 9)
    np.testing.assert_array_equal(whole[4:7], draw(3, range(4, 7), 9))
    np.testing.assert_array_equal(whole[:, :5], draw(3, range(10), 5))
    assert not (whole == draw(4, range(10), 9)).any()


def test_rows_beyond_32_bits_differ():
    assert not (noise.normal(0, range(2**32, 2**32 + 1), 8) == noise.normal(0, range(1), 8)).any()


def test_draws_and_streams_differ():
    assert not (noise.uniform(0, range(4), 8) == noise.uniform(0, range(4), 8, draw=1)).any()


def test_moments():
    normal, uniform = noise.normal(1, range(2000), 500), noise.uniform(1, range(2000), 500)
    standard_error = 1 / np.sqrt(normal.size)
    assert abs(normal.mean()) < 5 * standard_error
    assert abs((normal**2).mean() - 1) < 5 * np.sqrt(2) * standard_error
    assert abs((normal**4).mean() - 3) < 5 * np.sqrt(96) * standard_error
    assert abs(uniform.mean() - 0.5) < 5 * np.sqrt(1 / 12) * standard_error
    assert uniform.min() >= 0
    assert uniform.max() < 1


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_outside_64_bits_is_refused(seed):
    with pytest.raises(BadInputError, match="Expected a seed"):
        noise.normal(seed, range(1), 1)


def test_classes_follow_the_priors_row_by_row():
    priors = (0.5, 0.2, 0.3)
    whole = noise.classes(7, range(20_000), priors)
    share = np.bincount(whole) / 20_000
    allowed = tolerances.of_estimate(np.sqrt(np.array(priors) * (1 - np.array(priors))), 20_000)
    tolerances.assert_within(share, np.array(priors), allowed)
    assert tolerances.beyond(share, np.array(priors[::-1]), allowed) > 1
    np.testing.assert_array_equal(noise.classes(7, range(300, 340), priors), whole[300:340])
    assert (noise.classes(8, range(100), priors) != whole[:100]).any()


def test_the_class_of_a_row_is_its_word_among_the_sums_of_the_priors():
    key = (7, 0)
    for row in range(20):
        word = noise.philox4x32(np.array([0, row, 0, 2**32 - 1], dtype=np.uint64), key)[0]
        expected = 0 if word < 0.5 * 2**32 else 1 if word < 0.7 * 2**32 else 2
        assert noise.classes(7, range(row, row + 1), (0.5, 0.2, 0.3)).tolist() == [expected]


def test_a_rounded_sum_of_priors_leaves_no_row_without_a_class():
    assert noise.classes(0, range(1000), (1e-12, 1e-12)).max() == 1
