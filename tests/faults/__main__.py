"""`python -m tests.faults --runs 300 --seed 0`: faults on every command, recorded in benchmarks/results/faults.json."""

import argparse
import json
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from tests.faults import processes
from tests.faults.campaign import SHARES, Campaign, Cell, merge, plan

RESULT = processes.ROOT / "benchmarks" / "results" / "faults.json"


def main() -> int:
    """Run the campaign; exit code 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="kills; other faults come in proportion")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="a command; repeatable")
    parser.add_argument("--fault", action="append", default=[], help="a fault; repeatable")
    parser.add_argument("--workers", type=int, default=2, help="commands under a fault at the same time")
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
        with ExitStack() as stack:
            campaigns: list[Campaign] = []
            for worker in range(given.workers):
                place = scratch / str(worker)
                pair = [stack.enter_context(processes.Zygote(library, _made(place / name))) for name in "ab"]
                campaigns.append(
                    campaigns[0].twin(place, *pair) if campaigns else Campaign(place, *pair, tuple(given.only))
                )
            unbroken = campaigns[0].unbroken
            points = [one for one in plan(given.runs, given.seed, list(unbroken)) if one[0] in (given.fault or SHARES)]
            ends = time.monotonic() + given.minutes * 60
            free: SimpleQueue[Campaign] = SimpleQueue()
            for campaign in campaigns:
                free.put(campaign)

            def one(point: tuple[str, str, float, bool]) -> tuple[str, str, Cell] | None:
                if time.monotonic() > ends:
                    return None
                campaign = free.get()
                try:
                    return point[0], point[1], campaign.at(*point)
                finally:
                    free.put(campaign)

            with ThreadPoolExecutor(given.workers) as pool:
                for number, found in enumerate(pool.map(one, points)):
                    if found is None:
                        continue
                    merge(cells, *found)
                    for reason in found[2].wrong:
                        sys.stderr.write(f"{found[0]}, {found[1]}: {reason}\n")
                    if number % 20 == 0:
                        sys.stderr.write(f"{number} of {len(points)}\n")
                    sys.stderr.flush()
    chosen = [f'--fault "{fault}"' for fault in given.fault] + [f'--only "{name}"' for name in given.only]
    wrong = sum(len(cell.wrong) for row in cells.values() for cell in row.values())
    document = {
        "command": " ".join(["python -m tests.faults", f"--runs {given.runs} --seed {given.seed}", *chosen]),
        "machine": {"system": platform.platform(), "python": platform.python_version(), **_versions()},
        "operations": {name: whole.operations for name, whole in unbroken.items()},
        "runs": {fault: sum(cell.runs for cell in row.values()) for fault, row in cells.items()},
        "wrong": wrong,
        "matrix": {fault: {name: cell.as_json() for name, cell in row.items()} for fault, row in cells.items()},
    }
    given.output.write_text(json.dumps(document, indent=1) + "\n")
    sys.stdout.write(f"{document['runs']}, wrong: {wrong}\n")
    return int(wrong > 0)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "onnxruntime", "numpy", "pyarrow")}


if __name__ == "__main__":
    sys.exit(main())
