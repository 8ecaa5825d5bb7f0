"""What errors say is one printable line that somebody reads, whatever they quote."""

import pytest

from lunet_export import errors
from lunet_export.errors import BadInputError, LunetExportError, OverflowingRowsError, UnsupportedLayersError, brief
from lunet_export.streaming.engines import _of_worker


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


def test_what_a_worker_met_is_raised_again_by_its_sentence():
    """Errors that are made of more than a sentence have the code of the nearest that is not."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, LunetExportError):
            again = _of_worker(kind.__name__, "Expected 1; got 2.", 0)
            assert isinstance(again, kind) or kind in (OverflowingRowsError, UnsupportedLayersError)
            assert (str(again), again.exit_code) == ("Expected 1; got 2.", kind.exit_code)
