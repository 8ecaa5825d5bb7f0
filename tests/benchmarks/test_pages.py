"""The generated parts of the documentation: they are current, a changed record is seen, each function is used."""

import copy
import json
import shutil
from functools import cache

import pytest

from benchmarks import pages, report
from lunet_export.errors import BadInputError, CheckFailedError
from tests.conftest import ROOT

read = cache(pages.read)
PARTS = {f"{kind}: {name}": part for kind, parts in pages._KINDS.items() for name, part in parts.items()}


def leaves(value):
    """Every number of a document: what holds it, and under which key."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        if isinstance(entry, (int, float)) and not isinstance(entry, bool):
            yield value, key
        else:
            yield from leaves(entry)


def test_every_page_is_current():
    assert [name for name, _ in pages.outdated(ROOT, read)] == []


def test_every_marker_is_known_and_every_function_is_used():
    assert {f"{kind}: {name}" for kind, name in pages.named(ROOT)} == {*PARTS}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_says_what_each_of_its_records_holds(name):
    """Some number of each record, changed, changes the text: nothing is written by hand in its place."""
    part = PARTS[name]
    text = part.text(read)
    for record in part.records:
        document = copy.deepcopy(read(record))
        assert any(changed(part, record, document, holder, key) != text for holder, key in leaves(document)), record


def changed(part, record, document, holder, key):
    """The part's text with one number changed; None where there is none without it, as of a batch that was not run."""
    before = holder[key]
    holder[key] = 3 * before + 1
    try:
        return part.text(lambda name: document if name == record else read(name))
    except (KeyError, StopIteration, ValueError):
        return part.text(read)
    finally:
        holder[key] = before


@pytest.mark.parametrize("name", pages.TABLES)
def test_a_table_has_a_cell_per_column(name):
    lines = pages.TABLES[name].text(read).strip().splitlines()
    assert len(lines) > 2
    assert len({line.count("|") for line in lines}) == 1


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A page and its record in a folder of their own, current."""
    for name in ("benchmarks/results", "docs", "exported"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(report.RESULTS / "train_step.json", tmp_path / "benchmarks" / "results")
    page = tmp_path / "docs" / "page.md"
    parts = ("<!-- table: training step -->\n<!-- end -->", "On <!-- value: machine of train_step --><!-- end -->.")
    page.write_text("\n\n".join(parts), encoding="utf-8")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "benchmarks" / "results")
    run(monkeypatch)
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["pages", *arguments])
    pages.main()


def test_a_planted_change_of_a_record_fails_the_check_until_the_page_is_written(clone, monkeypatch):
    page, path = clone / "docs" / "page.md", clone / "benchmarks" / "results" / "train_step.json"
    before = page.read_text()
    assert "| packed | 78.7 | **2.06** (1.6) | 3.6 | 4.65 | 143 | 2.46 |" in before
    assert "On <!-- value: machine of train_step -->2 cores of an AMD EPYC, 2 threads, Python 3.11.7, " in before
    run(monkeypatch, "--check")
    document = json.loads(path.read_text())
    document["steps"]["packed"]["step"]["p50"] = 12.34
    path.write_text(json.dumps(document))
    with pytest.raises(CheckFailedError, match=r"in docs/page\.md; run: python -m benchmarks\.pages") as caught:
        run(monkeypatch, "--check")
    assert caught.value.exit_code == 1
    assert page.read_text() == before
    run(monkeypatch)
    assert page.read_text() == before.replace("| 78.7 |", "| 12.3 |")
    run(monkeypatch, "--check")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- table: no such -->\n<!-- end -->", "as a table in p; got 'no such'"),
        ("<!-- table: machine of peers -->\n<!-- end -->", "as a table in p; got 'machine of peers'"),
        ("<!-- table: peers -->\n| a |\n", "Expected as many of <!-- end -->"),
        ("a <!-- end -->", "Expected as many of <!-- end -->"),
        ("<!-- table: peers -->\n<!-- table: floor -->\n<!-- end -->", "another one begins before it"),
        ("on\n <!-- value: machine of peers -->x<!-- end -->", "it begins one. Wrap it otherwise"),
    ],
    ids=["unknown", "of the other kind", "no end", "no beginning", "nested", "at the beginning of a line"],
)
def test_a_wrong_marker_gets_a_sentence(text, said):
    with pytest.raises(BadInputError, match=said):
        pages.renewed(text, "p", read)
