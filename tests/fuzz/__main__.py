"""`python -m tests.fuzz --inputs 100000 --seed 0`: a campaign. `--reader X --case N`: one of its inputs again."""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.fuzz import campaign, guards
from tests.fuzz.attempt import attempt
from tests.fuzz.outcome import Outcome
from tests.fuzz.readers.table import READERS

RESULT = Path("benchmarks/results/fuzz.json")


def main() -> int:
    """Run what the arguments ask for; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="Of all readers together.")
    parser.add_argument("--seed", type=int, default=0, help="Of the campaign.")
    parser.add_argument("--workers", type=int, default=1, help="Processes.")
    parser.add_argument("--reader", action="append", choices=READERS, help="Only this one; repeat for more.")
    parser.add_argument("--case", type=int, action="append", help="One of its inputs, here; repeat both.")
    parser.add_argument("--keep", type=Path, help="Where the input of --case is to stay.")
    parser.add_argument("-o", "--output", type=Path, help=f"The record, as {RESULT}.")
    parser.add_argument("--minutes", type=float, help="Stop after so many, with a record of what was done.")
    parser.add_argument("--merge", action="store_true", help="Keep what the record says of other readers.")
    given = parser.parse_args()
    names = given.reader or list(READERS)
    if given.case is not None:
        scratch = given.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
        guards.install()
        return max(_one(name, given.seed, case, scratch) for name, case in zip(names, given.case, strict=True))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begun = time.monotonic()
    counts = campaign.shares({name: READERS[name].share for name in names}, given.inputs)
    tallies = campaign.run(counts, seed=given.seed, workers=given.workers, minutes=given.minutes, on_finding=_tell)
    command = ["python", "-m", "tests.fuzz", *sys.argv[1:]]
    before = json.loads(given.output.read_bytes()) if given.merge and given.output.exists() else None
    seconds = time.monotonic() - begun
    document = campaign.record(tallies, seed=given.seed, command=command, seconds=seconds, before=before)
    for name, tally in tallies.items():
        campaign.say(f"{name}: {tally.inputs} inputs, {tally.refused} refused, {tally.accepted} accepted, "
                     f"{len(tally.findings)} findings")  # fmt: skip
    campaign.say(f"{document['inputs']} inputs, {document['findings']} findings, {document['seconds']} s")
    if given.output:
        campaign.write(document, given.output)
    return int(document["findings"] > 0)


def _one(name: str, seed: int, number: int, scratch: Path) -> int:
    reader = READERS[name](scratch / f"good {number}")
    assert reader.untouched is not None
    guards.limit_memory()
    outcome = attempt(reader, seed, number, scratch / f"{name} {number}")
    campaign.say(f"{asdict(outcome)}\ninput: {scratch / f'{name} {number}' / 'input'}")
    return int(outcome.finding is not None)


def _tell(outcome: Outcome) -> None:
    campaign.say(f"{outcome.reader} {outcome.number} ({outcome.mutation}): {outcome.finding}: {outcome.detail}")


if __name__ == "__main__":
    sys.exit(main())
