"""Renew the tables and figures of the documentation from what was measured: `python -m benchmarks.pages`.

A page marks what is generated:

    <!-- table: NAME -->
    | ... |
    <!-- end -->

    within a sentence, and not at the beginning of a line: <!-- value: NAME -->1.515<!-- end -->

`TABLES` and `VALUES` say which function writes a NAME from which records. `--check` writes nothing and exits with code
1 if a page is not current. Nothing is measured here.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import (
    ablation,
    accuracy,
    activation_speed,
    activations,
    authors_inverse,
    commands,
    compat,
    conditional,
    contexts,
    embeddings,
    equal_cost,
    imported,
    jko,
    jko_lu,
    labels,
    peers,
    precision,
    report,
    roofline,
    scale,
    scaling,
    science,
    small_data,
    soak,
    table1,
    train_step,
    verifier,
)
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.files import whole_file
from tests.faults import table as faults
from tests.fuzz import table as fuzz

#: Where markers may stand, from the root of the repository.
PLACES = ("README.md", "docs/**/*.md", "benchmarks/README.md", "tests/*/README.md")

Read = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True)
class Part:
    """Something that is generated: a function, and the records that it takes."""

    write: Callable[..., Any]
    records: tuple[str, ...]

    def text(self, read: Read) -> str:
        """Return the text in the page: one line, or the lines of a table.

        Args:
            read: Function that returns the document of a record by its name.
        """
        found = self.write(*map(read, self.records))
        return found if isinstance(found, str) else f"\n{report.markdown(found)}\n"


def _of(write: Callable[..., Any], *records: str) -> Part:
    return Part(write, records)


_IMAGES = tuple(
    f"{name}{activation}-training" for name in ("mnist", "fashion-mnist") for activation in ("-squareplus", "")
)
_COMMITTED = tuple(f"exported/{name}/manifest.json" for name in ("digits", "toy2d"))
_CLASSES = tuple(
    f"{name}-classes-{kind}" for name in ("mnist", "fashion-mnist") for kind in ("training", "classification")
)
_TOLD = tuple(
    f"{name}-{kind}" for name in ("mnist", "fashion-mnist") for kind in ("diagnosis", "classes-classification")
)

#: What a table's marker may name. A record is a file of results/, or a path from the root.
TABLES = {
    "errors of exports": _of(commands.errors, *_COMMITTED[::-1], "exported/mnist/manifest.json"),
    "likelihoods": _of(commands.likelihoods, *_IMAGES, *_COMMITTED),
    "trainings": _of(commands.trainings, *_IMAGES, "mnist-8-blocks-training", *_COMMITTED),
    "two dimensions": _of(commands.plane, "mixture-diagnosis", "eight-gaussians-diagnosis", "two-moons-diagnosis"),
    "diagnoses": _of(commands.diagnosed, "mnist-diagnosis", "fashion-mnist-diagnosis"),
    "classes": _of(commands.classes, *_CLASSES),
    "each class": _of(commands.each_class, *_CLASSES[::2]),
    "detection": _of(commands.detection, *_TOLD),
    "certificates": _of(commands.certificates, *_COMMITTED[::-1], "mnist-certificate"),
    "latency": _of(commands.latencies, "mnist-latency"),
    "latencies": _of(commands.latencies, "mnist-latency", "digits-latency", "toy2d-latency"),
    "JKO latency": _of(commands.latencies, "jko-latency"),
    "robustness": _of(commands.robustness, "fuzz", "faults", "extremes", "soak"),
    "ablation": _of(ablation.rows, "ablation"),
    "ablation on Fashion-MNIST": _of(ablation.rows, "ablation-fashion-mnist"),
    "activations": _of(activations.rows, "activations"),
    "activation graphs": _of(activations.graph_rows, "activations"),
    "what contexts move": _of(conditional.table, "conditional"),
    "labels as contexts": _of(labels.table, "labels"),
    "few rows": _of(small_data.rows, "small_data"),
    "floor": _of(peers.floor_rows, "peers"),
    "activation speed": _of(activation_speed.rows, "activation_speed"),
    "predictions": _of(activation_speed.prediction_rows, "activation_speed"),
    "peers in short": _of(peers.short_rows, "peers"),
    "peers": _of(peers.rival_rows, "peers"),
    "other targets": _of(peers.other_rows, "peers"),
    "authors' inverse": _of(authors_inverse.rows, "authors_inverse"),
    "solvers": _of(peers.solver_rows, "peers", "tests/cuda/launches.json"),
    "growth": _of(scaling.rows, "scaling"),
    "training step": _of(train_step.layer_rows, "train_step"),
    "accuracy of solvers": _of(accuracy.rows, "accuracy"),
    "accuracy of the activation": _of(accuracy.activation_rows, "accuracy"),
    "precision": _of(precision.rows, "precision"),
    "precision budgets": _of(precision.share_rows, "precision"),
    "roofline": _of(roofline.rows, "roofline"),
    "Table 1": _of(table1.rows, "table1"),
    "Table 1 ratios": _of(table1.ratio_rows, "table1"),
    "equal cost": _of(equal_cost.rows, "equal_cost"),
    "JKO": _of(jko.rows, "jko"),
    "JKO steps": _of(jko.step_rows, "jko"),
    "JKO exports": _of(jko.export_rows, "jko"),
    "JKO on LU blocks": _of(jko_lu.rows, "jko_lu"),
    "imported flows": _of(imported.rows, "imported"),
    "conditional flows": _of(contexts.rows, "contexts"),
    "grouped rows": _of(contexts.grouped_rows, "contexts"),
    "science, parity": _of(science.parity_rows, "science"),
    "science, speed": _of(science.speed_rows, "science"),
    "science, targets": _of(science.target_rows, "science"),
    "science, accuracy": _of(science.accuracy_rows, "science"),
    "streaming": _of(scale.rows, "scale"),
    "streaming memory": _of(scale.memory_rows, "scale"),
    "Marabou": _of(verifier.rows, "verifier"),
    "languages": _of(embeddings.rows, "embeddings"),
    "runtimes": _of(compat.rows, "compat"),
    "long runs": _of(soak.rows, "soak"),
    "hostile files": _of(fuzz.rows, "fuzz"),
    "faults": _of(faults.fault_rows, "faults"),
    "faults by command": _of(faults.command_rows, "faults"),
}

_MACHINES = (
    "ablation",
    "ablation-fashion-mnist",
    "accuracy",
    "activation_speed",
    "activations",
    "authors_inverse",
    "conditional",
    "contexts",
    "embeddings",
    "equal_cost",
    "imported",
    "jko",
    "jko-latency",
    "jko_lu",
    "labels",
)
_MACHINES += (
    "mnist-latency",
    "peers",
    "precision",
    "scale",
    "scaling",
    "science",
    "small_data",
    "soak",
    "table1",
    "train_step",
)

#: What the marker of a figure within a sentence may name.
VALUES = {f"machine of {name}": _of(report.described, name) for name in _MACHINES}

_KINDS = {"table": TABLES, "value": VALUES}
_MARK = re.compile(r"<!-- (table|value): ([^>\n]+?) -->")
_END = "<!-- end -->"
_MARKED = re.compile(rf"{_MARK.pattern}(.*?){_END}", re.DOTALL)


def main() -> None:
    """Write the pages that are not current, or name them.

    Raises:
        CheckFailedError: if a page is not current, with --check.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is not current")
    stale = dict(outdated(report.ROOT, cache(read)))
    if parser.parse_args().check:
        validate_current(stale)
        return
    for page, text in stale.items():
        with whole_file(report.ROOT / page) as file:
            file.write_text(text, encoding="utf-8")
        report.progress(f"wrote {page}")


def validate_current(stale: Mapping[str, str]) -> None:
    """Raise if a page is not current.

    Raises:
        CheckFailedError: if there is one; it names all of them.
    """
    if stale:
        names = ", ".join(stale)
        raise CheckFailedError(f"Expected current tables and figures in {names}; run: python -m benchmarks.pages")


def read(record: str, results: Path | None = None) -> Mapping[str, Any]:
    """Return the document of a record.

    Args:
        record: Name of a file of results/ without its suffix, or a path from the root of the repository.
        results: Folder of the results, if it is not results/.
    """
    path = report.ROOT / record if "/" in record else (results or report.RESULTS) / f"{record}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def pages(root: Path) -> Iterator[Path]:
    """Yield every page on which markers may stand."""
    for place in PLACES:
        yield from sorted(root.glob(place))


def outdated(root: Path, read: Read) -> Iterator[tuple[str, str]]:
    """Yield the pages that are not current, from the root, with the text that they should have."""
    for path in pages(root):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        if (current := renewed(text, name, read)) != text:
            yield name, current


def renewed(text: str, page: str, read: Read) -> str:
    """Return a page's text with every marked part written again.

    Args:
        text: Text of the page.
        page: Name of the page, for errors.
        read: Function that returns the document of a record by its name.

    Raises:
        BadInputError: if a marker is unknown, has no end, or is a value at the beginning of a line, where Markdown sees
            no sentence.
    """

    def write(match: re.Match[str]) -> str:
        kind, name, between = match.groups()
        if name not in _KINDS[kind]:
            raise BadInputError(f"Expected one of {', '.join(_KINDS[kind])} as a {kind} in {page}; got {name!r}.")
        if _MARK.search(between):
            raise BadInputError(f"Expected {_END} after the {kind} {name!r} in {page}; another one begins before it.")
        if kind == "value" and text[: match.start()].rpartition("\n")[2].strip() == "":
            raise BadInputError(
                f"Expected the value {name!r} in {page} within a line; it begins one. Wrap it otherwise."
            )
        return f"<!-- {kind}: {name} -->{_KINDS[kind][name].text(read)}{_END}"

    found = _MARKED.sub(write, text)
    if len(_MARK.findall(text)) != len(_MARKED.findall(text)) or text.count(_END) != len(_MARKED.findall(text)):
        raise BadInputError(f"Expected as many of {_END} as of tables and values in {page}; got {text.count(_END)}.")
    return found


def named(root: Path) -> Iterator[tuple[str, str]]:
    """Yield kind and name of every marker of the pages."""
    for path in pages(root):
        yield from _MARK.findall(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    report.run(main)
