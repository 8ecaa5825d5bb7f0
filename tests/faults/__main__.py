"""`python -m tests.faults --runs 300 --seed 0`: faults on every command, recorded in benchmarks/results/faults.json."""

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import processes
from tests.faults.campaign import Campaign, Cell, merge, plan

RESULT = processes.ROOT / "benchmarks" / "results" / "faults.json"


def main() -> int:
    """Run the campaign; exit code 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="kills; other faults come in proportion")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="a command; repeatable")
    parser.add_argument("--fault", action="append", default=[], help="a fault; repeatable")
    parser.add_argument("--minutes", type=float, default=1e6, help="no run begins after so many")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    parser.add_argument("--scratch", type=Path, default=None, help="where to work; /dev/shm spares the disk")
    given = parser.parse_args()
    cells: dict[str, dict[str, Cell]] = {}
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        scratch = Path(folder).resolve()
        library = processes.build(scratch)
        if library is None:
            parser.error("this needs Linux and a C compiler")
        (scratch / "a").mkdir()
        (scratch / "b").mkdir()
        with processes.Zygote(library, scratch / "a") as zygote, processes.Zygote(library, scratch / "b") as other:
            campaign = Campaign(scratch, zygote, other, tuple(given.only))
            names = list(campaign.cases)
            points = [one for one in plan(given.runs, given.seed, names) if not given.fault or one[0] in given.fault]
            ends = time.monotonic() + given.minutes * 60
            for number, (fault, name, point, timed) in enumerate(points):
                if time.monotonic() > ends:
                    break
                if fault == "two at once":
                    one = campaign.race(name, point * campaign.unbroken[name].seconds)
                else:
                    _, one = campaign.run(fault, name, point, timed=timed)
                merge(cells, fault, name, one)
                for reason in one.wrong:
                    sys.stderr.write(f"{fault}, {name}: {reason}\n")
                if number % 20 == 0:
                    sys.stderr.write(f"{number} of {len(points)}\n")
                sys.stderr.flush()
    wrong = sum(len(cell.wrong) for row in cells.values() for cell in row.values())
    document = {
        "command": f"python -m tests.faults --runs {given.runs} --seed {given.seed}",
        "machine": {"system": platform.platform(), "python": platform.python_version(), **_versions()},
        "operations": {name: whole.operations for name, whole in campaign.unbroken.items()},
        "runs": {fault: sum(cell.runs for cell in row.values()) for fault, row in cells.items()},
        "wrong": wrong,
        "matrix": {fault: {name: cell.as_json() for name, cell in row.items()} for fault, row in cells.items()},
    }
    given.output.write_text(json.dumps(document, indent=1) + "\n")
    sys.stdout.write(f"{document['runs']}, wrong: {wrong}\n")
    return int(wrong > 0)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "onnxruntime", "numpy", "pyarrow")}


if __name__ == "__main__":
    sys.exit(main())
