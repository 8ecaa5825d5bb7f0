"""What does Marabou answer about exported generators, and how long does it search? Needs `make test-marabou`.

The claims are `Y_0 <= t` over the box of mass 0.9, with t at a share of the way from the median of x_0 in the box (0)
to the largest of 100,000 points of it (1): below 1 the claim is false, well above it is true. Every witness is replayed
in ONNX Runtime, and every proof is compared with the points. Only the search is timed, in one thread.
"""

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import report
from lunet_export import checkpoint, verification
from lunet_export.errors import CheckFailedError, MissingPackageError
from lunet_export.export import Provenance, Question, export_for_verifier
from lunet_export.flows.lunet import lunet_of
from lunet_export.layers import Chain
from lunet_export.verification import LatentBox, VerifierFolder
from lunet_export.verification import witness as witnesses
from tests.marabou.ask import POINTS, ask, highest, missing
from tests.verification.cases import piecewise_linear

MASS, LIMIT = 0.9, 60
SHARES = (0.97, 1.03, 1.3, 2.0)
SIZES = ((2, 3), (3, 3), (4, 3), (6, 3), (8, 3), (16, 3))  # D, blocks; slope 0.1
_REPEATS = 3


def networks(trained: Path | None) -> dict[str, Chain]:
    """Return random networks, and a trained one if it is given."""
    found = {f"random, D = {dim}": piecewise_linear(dim, blocks) for dim, blocks in SIZES}
    if trained:
        found[trained.stem] = lunet_of(checkpoint.read(trained).weights, "a verifier")
    return found


def measure(name: str, weights: Chain, share: float, scratch: Path) -> dict[str, Any]:
    """Return Marabou's verdict about one claim, checked, with the median of its seconds.

    Raises:
        CheckFailedError: if a witness is not confirmed, or a point contradicts a proof.
    """
    middle, top = highest(weights, LatentBox.of_mass(MASS, weights.dim))
    limit = middle + share * (top - middle)
    folder = scratch / f"{name}-{share}"
    question = Question((MASS,), claim=f"Y_0 <= {limit:.6f}")
    export_for_verifier(weights, folder, Provenance(name), question)
    opened, query = VerifierFolder.open(folder), f"query-{MASS}.vnnlib"
    answers = [ask(folder, query, scratch / "witness.txt", limit=LIMIT)]
    if answers[0].verdict != "TIMEOUT":
        answers += [ask(folder, query, scratch / "witness.txt", limit=LIMIT) for _ in range(_REPEATS - 1)]
    verdict = answers[0].verdict
    confirmed = None
    if verdict == "sat":
        found = verification.replay(opened, witnesses.read(answers[0].witness, weights.dim), query=query)
        confirmed = found.confirmed
    if confirmed is False or (verdict == "unsat" and top >= limit):
        raise CheckFailedError(f"Expected a right verdict of Marabou on {name} at {share}; got {verdict}.")
    entry = {
        "network": name,
        "dim": weights.dim,
        "leaky_relus": answers[0].leaky_relus,
        "slope": weights.kind.alpha,
        "share": share,
        "verdict": verdict,
        "confirmed": confirmed,
        "seconds": statistics.median(answer.seconds for answer in answers),
        "runs": len(answers),
        "marabou": answers[0].versions,
    }
    report.progress(f"{name}, {share}: {verdict} in {entry['seconds']:.3g} s")
    return entry


def rows(found: Mapping[str, Any]) -> report.Rows:
    """Return a row per network, a cell per claim."""
    head = [f"x_0 ≤ t over the box of mass {found['mass']}", "LeakyReLUs"]
    head += [f"t at {share}" for share in dict.fromkeys(entry["share"] for entry in found["queries"])]
    body: dict[str, list[str]] = {}
    for entry in found["queries"]:
        row = body.setdefault(entry["network"], [f"{entry['network']}", str(entry["leaky_relus"])])
        timed = f"{entry['seconds']:.2g} s" if entry["verdict"] != "TIMEOUT" else f"none in {found['limit_seconds']} s"
        row.append(f"{entry['verdict']}, {timed}" if entry["verdict"] != "TIMEOUT" else timed)
    return [head, *body.values()]


def main() -> None:
    """Run Marabou, check, write."""
    parser = report.options(__doc__ or "", seconds=0)
    parser.add_argument("--model", type=Path, help="a trained LU-Net of leaky ReLU, a few dimensions")
    options = parser.parse_args()
    if why := missing():
        raise MissingPackageError(f"Expected Marabou; this {why}.")
    with tempfile.TemporaryDirectory() as scratch:
        queries = [
            measure(name, weights, share, Path(scratch))
            for name, weights in networks(options.model).items()
            for share in SHARES
        ]
    found = {
        "machine": report.machine(1),
        "mass": MASS,
        "limit_seconds": LIMIT,
        "points": POINTS,
        "queries": queries,
    }
    report.write(options.output / "verifier.json", found)
    report.table(rows(found))


if __name__ == "__main__":
    report.run(main)
