"""The table of checks."""

import io
import sys

import numpy as np
import pytest
from rich.cells import cell_len

from lunet_cli.check_table import print_checks
from lunet_export.parity import Check, compare

#: Two rows: the first is off by more, the second nearer to what it may be.
WANTED = np.array([[4e3, 1.0], [2.0, 3.0]])
OFF = np.array([[0.0, 50.0], [0.01, 0.0]])
GAP = compare("x", expected=WANTED, got=WANTED + OFF, tolerance=np.array([1000.0, 0.0125]))


def printed(capsys, *checks, dtype="float32", **cure) -> list[str]:
    print_checks(checks, dtype, **cure)
    return capsys.readouterr().out.splitlines()


def line_of(lines, name):
    (line,) = [line for line in lines if line.strip().startswith(name)]
    return line.removeprefix(f"  {name}").split()


def test_a_line_is_of_one_row(capsys):
    lines = printed(capsys, Check("golden: sampling, x", GAP, eager=7.0, eager_ratio=0.25))
    assert lines[0].split() == ["check", "row", "error", "allowed", "share", "PyTorch"]
    assert lines[1] == "golden"
    assert line_of(lines, "sampling, x") == ["ok", "1", "1.0e-02", "1.3e-02", "0.80", "0.25"]
    assert (GAP.absolute, GAP.absolute_row, GAP.absolute_tolerance) == (50.0, 0, 1000.0)


@pytest.mark.parametrize(
    ("off", "told"),
    [(0.0, "0"), (1e-3, "<0.01"), (0.5, "0.50"), (1.0, "1.00"), (1.001, "1.01"), (1e4, "1.0e+04"), (np.nan, "inf")],
)
def test_shares(off, told, capsys):
    gap = compare("z", expected=np.zeros((1, 1)), got=np.full((1, 1), off), tolerance=np.ones(1))
    assert line_of(printed(capsys, Check("golden: z", gap)), "z")[::4] == [
        "FAILED" if off > 1 or off != off else "ok",
        told,
    ]


def test_no_row_is_named_where_none_differs_or_none_could_be_compared(capsys):
    same = compare("z", expected=np.ones((2, 2)), got=np.ones((2, 2)), tolerance=np.ones(2))
    misshapen = compare("z", expected=np.ones((2, 2)), got=np.ones((2, 1)), tolerance=np.ones(2))
    lines = printed(capsys, Check("golden: same", same), Check("device: misshapen", misshapen, note="no graph"))
    assert line_of(lines, "same")[:2] == ["ok", "-"]
    assert line_of(lines, "misshapen")[:2] == ["FAILED", "-"]
    assert line_of(lines, "misshapen")[-1] == "[1]"
    assert lines[-1] == "[1] no graph"


def test_a_note_is_printed_once(capsys):
    notes = {"first": "one", "second": "", "third": "one", "fourth": "two"}
    lines = printed(capsys, *(Check(f"golden: {name}", GAP, note=note) for name, note in notes.items()))
    assert [line_of(lines, name)[-1] for name in notes] == ["[1]", "0.80", "[1]", "[2]"]
    assert lines[-2:] == ["[1] one", "[2] two"]


def test_a_row_without_digits_is_told_once(capsys):
    wanted = np.array([[4e3, 1.0], [2.0, 3.0]])
    lost = compare("x", expected=wanted, got=wanted, tolerance=np.array([1e-3, 3.5]), numbers=np.array([4, 17]))
    assert lost.no_digits == (17,)
    checks = [Check("golden: sampling, x", lost), Check("golden: batch 1 = batch N, x", lost)]
    said = "golden: sampling, x, row 17: {} keeps no digit of x there; {}"
    for dtype, cure in (
        ("float32", "export with --dtype float64"),
        ("float16", "export with --dtype float32"),
        ("tf32", "run it without --tf32"),
        ("float64", "the network is too ill-conditioned"),
    ):
        assert [line for line in printed(capsys, *checks, dtype=dtype) if "digit" in line] == [said.format(dtype, cure)]
    assert printed(capsys, *checks, cure="train it again")[-1] == said.format("float32", "train it again")


def test_many_rows_without_digits_are_counted(capsys):
    lost = compare("x", expected=np.ones((30, 2)), got=np.ones((30, 2)), tolerance=np.full(30, 2.0))
    assert printed(capsys, Check("golden: x", lost))[-1].startswith(
        "golden: x, rows 0, 1, 2, 3, 4, 5, 6, 7 and 22 more: float32 keeps no digit"
    )


def test_a_log_likelihood_near_0_has_its_digits(capsys):
    near = compare("log_prob", expected=np.array([1e-6]), got=np.array([1e-6]), tolerance=np.array([1e-4]))
    assert near.no_digits == ()
    assert not [line for line in printed(capsys, Check("golden: log_prob", near)) if "digit" in line]


@pytest.mark.parametrize("name", ["0", "9", "流𝄞", "Zoë"])
def test_columns_are_aligned_and_fit(name, capsys):
    names = [f"class {name}, log_prob of sampled x", "x", "replayed from rows written in place = launched, x"]
    checks = [Check(f"golden: {entry}", GAP, eager=1.0, note="left out", eager_ratio=0.5) for entry in names]
    head, _, *lines = printed(capsys, *checks)[:5]
    ends = {cell_len(line.partition("[1]")[0].rstrip()) for line in (head, *lines)}
    assert (ends, max(map(cell_len, lines)) <= 100) == ({cell_len(head)}, True)


def test_a_terminal_without_unicode_gets_the_same_table(monkeypatch):
    text = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", text)
    print_checks([Check("golden: sampling, x", GAP, eager=1.0, eager_ratio=0.5)], "float32")
    text.flush()
    assert "\\" not in text.buffer.getvalue().decode("ascii")
