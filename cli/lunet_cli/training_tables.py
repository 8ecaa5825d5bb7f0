"""What `lunet-export train` prints of a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING

from lunet_cli import output

if TYPE_CHECKING:
    from lunet_export.training import ClassesResult, Result


def print_classes(result: "ClassesResult", model: Path, *, paper_convention: bool) -> None:
    """Of one network a class: a line a class, then all of them as a mixture."""
    columns = ["class", "prior", "LU-Net, test", "Gaussian, test", "best epoch", "epochs"]
    rows = []
    for name, prior, entry in zip(result.names, result.priors, result.classes, strict=True):
        figures = [f"{prior:.3f}", f"{entry.test:.4f}", f"{entry.gaussian_test:.4f}"]
        paper = [f"{entry.paper_convention:.4f}"] if paper_convention else []
        rows.append((name, *figures, str(entry.best_epoch), str(entry.epochs), *paper))
    output.table(columns + (["as the released code would print it"] if paper_convention else []), rows)
    output.say("bits/dim of each class's test rows under its own network and under its own full-covariance Gaussian")
    output.table(
        ["all test rows", "LU-Nets", "Gaussians"],
        [
            ("mixture, bits/dim", f"{result.test:.4f}", f"{result.gaussian_test:.4f}"),
            ("accuracy of the argmax of the posterior", f"{result.accuracy:.2%}", f"{result.gaussian_accuracy:.2%}"),
        ],
    )
    output.say(f"{result.test_nats:.4f} nats a row{_draws(result)}; wrote {model}")
    output.hint("lunet-export", str(model))


def _draws(result: "ClassesResult") -> str:
    return f", means over {result.test_draws} draws of the noise" if result.test_draws > 1 else ""


def print_result(result: "Result", model: Path, title: str, *, paper_convention: bool) -> None:
    """Of one network, which `title` names: it beside the Gaussian."""
    figures = [
        (f"{title}, test", _number(result.test)),
        ("full-covariance Gaussian, test", _number(result.gaussian_test)),
        (f"{title}, validation", _number(result.valid)),
    ]
    if paper_convention:
        figures.append((f"{title} as the released code would print it", _number(result.paper_convention)))
    output.table(["", "bits/dim"], figures)
    best = f"best {result.unit} {result.best_epoch} of {result.epochs}"
    output.say(f"test: {_number(result.test_nats)} nats a row{_spread(result)}; {best}; wrote {model}")
    if result.below_the_line:
        output.complain(
            f"warning: on the test rows {title} is worse than the Gaussian. It needs more rows, more epochs or a "
            "smaller --learning-rate."
        )
    output.hint("lunet-export", str(model))


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4g}"


def _spread(result: "Result") -> str:
    if result.test_draws == 1:
        return ""
    return f", ± {_number(result.test_spread)} bits/dim over {result.test_draws} draws of the noise"
