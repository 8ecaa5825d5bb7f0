"""The table of precisions: errors in the order of the precisions, budgets that hold, faults that do not pass."""

import numpy as np
import pytest

from benchmarks import precision
from lunet_export.preprocessing import NAMED
from tests.networks import network


@pytest.fixture(scope="module")
def document():
    made = {"images": network(16, 3, preprocessing=NAMED["images"]), "vectors": network(6, 3)}
    return {"rows": 16, "networks": [precision.measure(name, weights, 16, 1) for name, weights in made.items()]}


def test_errors_follow_the_precision_and_stay_in_budget(document):
    for entry in document["networks"]:
        for part, output in (("density", "z"), ("density", "log_prob"), *((name, "x") for name in precision.SOLVERS)):
            found = {name: errors[output] for name, errors in entry[part].items()}
            assert found["float32"]["median"] < 0.01 * found["TF32 nearest"]["median"]
            assert found["TF32 nearest"]["median"] < 2 * found["float16"]["median"]
            assert all(0 < errors["share"] < 1 and errors["rows_that_overflow"] == 0 for errors in found.values())


def test_an_error_is_a_share_of_its_own_rows_tolerance():
    exact, got = np.zeros((3, 2)), np.array([[0.0, 1.0], [4.0, 0.0], [np.inf, 0.0]])
    found = precision.error("x", exact, got, np.array([0.5, 8.0, 1.0]), 2.0)
    assert found == {"largest": 2.0, "median": 1.25, "budget": 4.0, "share": 2.0, "rows_that_overflow": 1}


def test_the_picture_and_the_table_are_made(document, tmp_path, capsys):
    precision.draw(document, tmp_path / "precision.png")
    assert (tmp_path / "precision.png").read_bytes().startswith(b"\x89PNG")
    precision.show(document)
    assert "TF32 truncated" in capsys.readouterr().out
