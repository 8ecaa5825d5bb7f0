"""What errors say is one printable line that somebody reads, whatever they quote."""

import pytest

from lunet_export.errors import BadInputError, brief


class Digits:
    """As an integer of more digits than Python writes, which pytest could not name either."""

    def __str__(self):
        return str(10**5000)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("two\nlines\t and  more", "two lines and more"),
        ("\ud800", "\\ud800"),
        ("x" * 200, "x" * 100 + "…"),
        (Digits(), "a number of very many digits"),
        (None, "None"),
    ],
)
def test_anything_can_be_quoted(value, line):
    assert brief(value) == line


def test_a_sentence_is_one_line_and_keeps_its_end():
    assert str(BadInputError("Expected 1;\n\tgot 2.")) == "Expected 1; got 2."
    long = str(BadInputError(f"Expected a name; got {'x' * 10**6}. Give a shorter one."))
    assert len(long) < 1600
    assert long.startswith("Expected a name; got xxx")
    assert long.endswith("xxx. Give a shorter one.")
