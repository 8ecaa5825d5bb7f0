"""`python -m tests.extremes [--only TEXT] [--light] [-o FILE]`: judge every case, and write what was done for each.

    python -m tests.extremes -o benchmarks/results/extremes.json

Heavy cases, of 4096 dimensions, take minutes each and gigabytes; `--light` leaves them out. Cases of a run before
that were not judged again stay in FILE. Exit code 1: a case is wrong.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import lunet_export
from lunet_export.files import whole_file
from tests.extremes.batches import judge_batches
from tests.extremes.cases import CASES, HEAVY
from tests.extremes.verdict import Verdict, assess


def record(name: str, verdict: Verdict, seconds: float) -> dict:
    """A case as JSON."""
    shares = list(verdict.right.values())
    kept = verdict.digits if np.isfinite(verdict.digits) else None
    return {
        "case": name,
        "outcome": verdict.outcome,
        "refused": verdict.refused or None,
        "answers": len(shares),
        "worst_share_of_tolerance": round(max(shares), 4) if shares else None,
        "digits": None if kept is None else round(kept, 1),
        "refused_rows": verdict.refused_rows,
        "unjudged": verdict.unjudged,
        "wrong": verdict.wrong,
        "seconds": round(seconds, 2),
    }


def main(arguments: list[str]) -> int:
    """Assess, print a line per case, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.extremes", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--light", action="store_true", help="leave the heavy cases out")
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, case) in enumerate((CASES | ({} if chosen.light else HEAVY)).items()):
            if chosen.only not in name:
                continue
            begin = time.perf_counter()
            verdict = assess(case, Path(folder) / str(number))
            found.append(record(name, verdict, time.perf_counter() - begin))
            sys.stdout.write(f"{verdict.outcome:8s} {name}  {verdict.refused or verdict.wrong or ''}\n")
            sys.stdout.flush()
    if chosen.output and chosen.output.exists():
        judged = {entry["case"] for entry in found}
        kept = json.loads(chosen.output.read_text(encoding="utf-8"))["found"]
        found = [entry for entry in kept if entry["case"] not in judged] + found
    outcomes = [entry["outcome"] for entry in found]
    document = {
        "cases": len(found),
        "outcomes": {name: outcomes.count(name) for name in ("right", "refused", "wrong")},
        "answers": sum(entry["answers"] for entry in found),
        "refused_rows": sum(len(entry["refused_rows"]) for entry in found),
        "unjudged": sum(len(entry["unjudged"]) for entry in found),
        "batches": judge_batches(),
        "command": "python -m tests.extremes",
        "machine": f"{platform.machine()}, {platform.system()}",
        "versions": {
            "lunet_export": lunet_export.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "torch": torch.__version__,
        },
        "found": found,
    }
    counts = {key: document[key] for key in ("cases", "outcomes", "answers", "refused_rows", "unjudged")}
    sys.stdout.write(f"{counts}\n")
    if chosen.output:
        with whole_file(chosen.output) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int("wrong" in outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
