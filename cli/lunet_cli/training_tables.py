"""Tables and sentences that `lunet-export train` prints of a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING

from lunet_cli import output
from lunet_cli.options import IN_PAPER_CONVENTION

if TYPE_CHECKING:
    from lunet_export.training import ClassesResult, Result
    from lunet_export.training.choice import Evidence

_OF_BAYES = "accuracy of the argmax of the posterior"


def print_classes(result: "ClassesResult", model: Path, *, paper_convention: bool) -> None:
    """Print one line per class with its own network, then all classes as a mixture."""
    columns = ["class", "prior", "LU-Net, test", "Gaussian, test", "kept", "epochs"]
    rows = []
    for name, prior, entry in zip(result.names, result.priors, result.classes, strict=True):
        figures = [f"{prior:.3f}", f"{entry.test:.4f}", f"{entry.gaussian_test:.4f}"]
        paper = [f"{entry.paper_convention:.4f}"] if paper_convention else []
        rows.append((name, *figures, _kept(entry), str(entry.epochs), *paper))
    output.table(columns + ([IN_PAPER_CONVENTION] if paper_convention else []), rows)
    output.say("bits/dim of each class's test rows under its own network and under its own full-covariance Gaussian")
    output.table(
        ["all test rows", "LU-Nets", "Gaussians"],
        [
            ("mixture, bits/dim", f"{result.test:.4f}", f"{result.gaussian_test:.4f}"),
            (_OF_BAYES, f"{result.accuracy:.2%}", f"{result.gaussian_accuracy:.2%}"),
        ],
    )
    draws = f", means over {result.test_draws} draws of the noise" if result.test_draws > 1 else ""
    output.say(f"{result.test_nats:.4f} nats per row{draws}; wrote {model}")


def print_result(result: "Result", model: Path, title: str, *, paper_convention: bool) -> None:
    """Print the figures of one network beside those of the Gaussian. `title` names the network."""
    figures = [
        (f"{title}, test", _number(result.test)),
        (f"{result.baseline}, test", _number(result.gaussian_test)),
        (f"{title}, validation", _number(result.valid)),
    ]
    if paper_convention:
        figures.append((f"{title} {IN_PAPER_CONVENTION}", _number(result.paper_convention)))
    output.table(["", "bits/dim"], figures)
    kept = f"kept: {_kept(result)} of {result.epochs}" if result.kept == "epoch" else f"kept: {_kept(result)}"
    output.say(f"test: {_number(result.test_nats)} nats per row{_spread(result)}; {kept}; wrote {model}")
    output.say(f"validation: {_evidence(result)}")
    if result.mixture is None or result.gaussian_mixture is None:
        return
    output.table(
        ["all test rows", title, result.baseline],
        [
            ("mixture of all classes, bits/dim", _number(result.mixture), _number(result.gaussian_mixture)),
            (_OF_BAYES, f"{result.accuracy:.2%}", f"{result.gaussian_accuracy:.2%}"),
        ],
    )


def warn_of_choice(result: "Result") -> None:
    """Warn if the Gaussian was kept, or if the model is worse than it on the test rows."""
    if result.kept == "gaussian":
        output.warn(
            f"the model of {result.dataset} is the {result.baseline}: on {_rows(result)} no {result.unit} was "
            f"better by more than chance{_least(result.over_gaussian)}. {_cure(result)}"
        )
    if result.below_gaussian:
        output.warn(
            f"the model of {result.dataset} is worse than the Gaussian on the test rows, though it was better on "
            f"{_rows(result)}. Give more rows, or look for test rows that differ from the others."
        )


def _kept(result: "Result") -> str:
    """Return which of the candidates the model file holds."""
    names = {"gaussian": "the Gaussian", "start": "the start", "epoch": f"{result.unit} {result.best_epoch}"}
    return names[result.kept]


def _evidence(result: "Result") -> str:
    """Return how much better than the Gaussian the network is, with the standard error."""
    found, who = result.over_gaussian, "the best" if result.kept == "gaussian" else "it"
    if _is_gaussian(found):
        return f"no network was found that is better than the Gaussian on {_rows(result)}"
    error = "" if found.error is None else f" ± {found.error:.4f}"
    return f"{who} gains {found.gain:+.4f}{error} nats per row over the Gaussian on {_rows(result)}"


def _cure(result: "Result") -> str:
    """Return what to do if the Gaussian was kept. If growth ended with it, there is no other network to keep."""
    if _is_gaussian(result.over_gaussian):
        return "More rows help."
    return f"More rows help; --no-fallback keeps the best {result.unit} anyway."


def _is_gaussian(found: "Evidence") -> bool:
    """Return whether a network is the Gaussian, to four decimals."""
    return abs(found.gain) < 5e-5 and (found.error or 0.0) < 5e-5


def _rows(result: "Result") -> str:
    rows = result.over_gaussian.rows
    return f"{rows} validation row{'s' if rows > 1 else ''}"


def _least(found: "Evidence") -> str:
    """Return the smallest gain that so few rows can show; an empty text if it is below 0.01."""
    if found.error is None:
        return ", which a single row cannot show"
    return f"; these rows cannot show a gain below {found.least:.2g} nats per row" if found.least >= 0.01 else ""


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4g}"


def _spread(result: "Result") -> str:
    if result.test_draws == 1:
        return ""
    return f", ± {_number(result.test_spread)} bits/dim over {result.test_draws} draws of the noise"
