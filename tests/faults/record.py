"""Records of several campaigns as one: `python -m tests.faults.record A.json B.json -o RECORD.json`."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any


def joined(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts are added up; the commands are kept beside one another."""
    matrix: dict[str, dict[str, Any]] = {}
    for record in records:
        for fault, row in record["matrix"].items():
            for name, cell in row.items():
                known = matrix.setdefault(fault, {}).setdefault(name, dict.fromkeys(cell))
                matrix[fault][name] = {key: _sum(known[key], value) for key, value in cell.items()}
    return {
        **records[0],
        "command": "; ".join(dict.fromkeys(record["command"] for record in records)),
        "runs": {fault: sum(cell["runs"] for cell in row.values()) for fault, row in matrix.items()},
        "wrong": sum(record["wrong"] for record in records),
        "matrix": matrix,
    }


def _sum(one: Any, other: Any) -> Any:
    if one is None:
        return other
    return dict(sorted((Counter(one) + Counter(other)).items())) if isinstance(one, dict) else one + other


def main() -> None:
    """Join the files that are given."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.record", description=__doc__)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    document = joined([json.loads(path.read_text()) for path in given.records])
    given.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
