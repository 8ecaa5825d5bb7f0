"""Folders, queries and witnesses that would take a reader elsewhere, or very long."""

import json
import os

import pytest

from lunet_export.artifact import sealed
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.export import Provenance, export_for_verifier
from lunet_export.export.verifier import Question
from lunet_export.verification import VerifierFolder, vnnlib, witness
from tests.verification.cases import piecewise_linear


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verifier") / "m"
    export_for_verifier(piecewise_linear(2, 1), folder, Provenance("m"), Question())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(original, tmp_path):
    (tmp_path / "m").mkdir()
    for name, data in original.items():
        (tmp_path / "m" / name).write_bytes(data)
    return tmp_path / "m"


@pytest.mark.parametrize("name", ["verifier.json", "generator.onnx", "box-0.9.vnnlib"])
def test_links_and_pipes_are_no_files_of_the_folder(folder, name):
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)
    with pytest.raises(ArtifactError, match="lies elsewhere"):
        VerifierFolder.open(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ArtifactError, match=r"not exist|not there|a device or a pipe"):
        VerifierFolder.open(folder)


def test_a_document_deeper_than_the_stack_gets_a_sentence(folder):
    document = json.loads((folder / "verifier.json").read_text())
    text = json.dumps(sealed(document | {"deep": "HERE"})).replace('"HERE"', "[" * 990 + "]" * 990)
    (folder / "verifier.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"altered|is not valid JSON"):
        VerifierFolder.open(folder)


@pytest.mark.slow
def test_a_query_of_very_many_comparisons_is_read_or_refused():
    """Each was copied with all before it."""
    box = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))"
    atom = "(assert (<= Y_0 1))"
    assert len(vnnlib.parse(box + atom * 200_000).cases[0]) == 200_000
    assert len(vnnlib.parse(box + f"(assert (and {'(<= Y_0 1)' * 200_000}))").cases[0]) == 200_000
    with pytest.raises(ArtifactError, match="more than 1000000 comparisons"):
        vnnlib.parse(box + f"(assert (or {'(<= Y_0 1)' * 2_000}))" + atom * 2_000)


def test_cases_keep_the_order_of_their_comparisons():
    box = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))"
    found = vnnlib.parse(f"{box}(assert (<= Y_0 1))(assert (or (<= Y_0 2) (<= Y_0 3)))(assert (<= Y_0 4))")
    assert [[str(atom) for atom in case] for case in found.cases] == [
        ["Y_0 <= 1", "Y_0 <= 2", "Y_0 <= 4"],
        ["Y_0 <= 1", "Y_0 <= 3", "Y_0 <= 4"],
    ]


def test_a_witness_of_very_many_names_is_refused(tmp_path):
    """The names of all inputs were made anew for each."""
    path = tmp_path / "w.txt"
    path.write_text(" ".join(f"(X_{number} 0.5)" for number in range(100_000)))
    with pytest.raises(BadInputError, match="X_20000 is not an input"):
        witness.read(path, 20_000)


@pytest.mark.parametrize("content", [[None, 1], [True, 1], {"X_0": None, "X_1": 1}, {"X_0": [0.5], "X_1": 1}])
def test_a_witness_holds_numbers(tmp_path, content):
    """null was NaN and true was 1."""
    path = tmp_path / "w.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError, match="Expected numbers"):
        witness.read(path, 2)
