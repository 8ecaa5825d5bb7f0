"""What `train` prints of a result."""

from pathlib import Path

import pytest

from lunet_cli.training_tables import print_result
from lunet_export.training.train import Result


def result(test: float) -> Result:
    return Result(
        dataset="mine",
        dim=2,
        network={},
        epochs=2,
        best_epoch=1,
        valid=2.0,
        test=test,
        test_spread=0.0,
        test_draws=1,
        test_nats=test,
        start=3.0,
        gaussian_test=2.5,
        paper_convention=1.0,
    )


@pytest.mark.parametrize(("test", "printed", "warned"), [(2.4, "2.4000", False), (8.4e31, "8.4e+31", True)])
def test_a_model_below_the_line_is_told_and_its_number_is_short(test, printed, warned, capsys):
    print_result(result(test), Path("m.pt"), "LU-Net", paper_convention=False)
    told = capsys.readouterr()
    assert f"test: {printed} nats a row" in told.out
    assert ("worse than the Gaussian" in told.err) is warned


def test_no_number_is_below_the_line():
    assert result(float("nan")).below_the_line
