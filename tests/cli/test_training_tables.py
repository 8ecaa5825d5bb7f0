"""What `train` prints of a result."""

from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.training_tables import print_result, warn_of_choice
from lunet_export.training.choice import Evidence
from lunet_export.training.train import Result

BETTER, WORSE, UNSURE = Evidence(0.5, 0.1, 30), Evidence(-0.5, 0.1, 30), Evidence(0.1, 0.1, 30)


def result(test: float = 2.4, **given) -> Result:
    known = {"kept": "epoch", "over_gaussian": BETTER, "test_over_gaussian": BETTER}
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
        **known | given,
    )


def printed(capsys, found: Result) -> tuple[str, str]:
    print_result(found, Path("m.pt"), "LU-Net", paper_convention=False)
    warn_of_choice(found)
    told = capsys.readouterr()
    return told.out, told.err


@pytest.mark.parametrize(("test", "number"), [(2.4, "2.4000"), (8.4e31, "8.4e+31")])
def test_a_number_is_short(test, number, capsys):
    out, err = printed(capsys, result(test))
    assert f"test: {number} nats per row; kept: epoch 1 of 2; wrote m.pt" in out
    assert "validation: it gains +0.5000 ± 0.1000 nats per row over the Gaussian on 30 validation rows" in out
    assert err == ""


def test_a_gaussian_that_is_kept_is_told_with_what_the_rows_can_tell(capsys):
    found = result(kept="gaussian", over_gaussian=UNSURE)
    out, err = printed(capsys, found)
    assert "kept: the Gaussian; wrote" in out
    assert "validation: the best gains +0.1000 ± 0.1000 nats" in out
    assert err == (
        "lunet-export: warning: the model of mine is the full-covariance Gaussian: on 30 validation rows no epoch was "
        "better by more than chance; these rows cannot show a gain below 0.17 nats per row. More rows help; "
        "--no-fallback keeps the best epoch anyway.\n"
    )
    single = replace(found, over_gaussian=Evidence(0.1, None, 1))
    assert "on 1 validation row no epoch was better by more than chance, which a single row cannot show." in printed(
        capsys, single
    )[1]  # fmt: skip


def test_growth_that_ends_with_the_gaussian_has_no_other_network(capsys):
    out, err = printed(capsys, result(kept="gaussian", over_gaussian=Evidence(1e-9, 1e-9, 30)))
    assert "validation: no network was found that is better than the Gaussian on 30 validation rows\n" in out
    assert err.endswith("no epoch was better by more than chance. More rows help.\n")


def test_a_model_that_the_test_rows_speak_against_is_told(capsys):
    _, err = printed(capsys, result(kept="start", test_over_gaussian=WORSE))
    assert "the model of mine is worse than the Gaussian on the test rows, though it was better on 30" in err


@pytest.mark.parametrize(
    ("kept", "on_test", "below"),
    [("epoch", WORSE, True), ("epoch", UNSURE, False), ("epoch", BETTER, False), ("gaussian", WORSE, False)],
)
def test_below_the_line_is_what_chance_does_not_explain(kept, on_test, below):
    assert result(kept=kept, test_over_gaussian=on_test).below_gaussian is below


@pytest.mark.parametrize("test", [float("nan"), float("inf")])
def test_no_finite_number_is_below_the_line(test):
    assert result(test, test_over_gaussian=Evidence(float("nan"), float("nan"), 30)).below_gaussian
    assert not result(test, kept="gaussian").below_gaussian
