"""`python -m tests.fuzz.table`: the counts of the recorded campaign, written into README.md."""

import json
from pathlib import Path

README, RECORD = Path("tests/fuzz/README.md"), Path("benchmarks/results/fuzz.json")


def main() -> None:
    """Put the record's rows behind the last heading of the table."""
    record = json.loads(RECORD.read_bytes())
    head, mark, _ = README.read_text(encoding="utf-8").rpartition("|---|---|---|---|---|\n")
    entries = [*record["readers"].items(), ("all", {**record, "findings": [None] * record["findings"]})]
    rows = [
        f"| {name} | {entry['inputs']:,} | {entry['refused']:,} | {entry['accepted']:,} | {len(entry['findings'])} |\n"
        for name, entry in entries
    ]
    README.write_text(head + mark + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
