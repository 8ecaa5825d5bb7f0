"""What a redesign must not change: digests, manifests and the bytes of graphs of every network that tests know.

`python -m tests.golden FILE` writes the record of the tree as it is; `python -m tests.golden FILE --against OLDER` also
prints what differs from an older one, network by network. Bytes and the last digits of bounds depend on the machine's
LAPACK, so two records are comparable where one machine made both, and none is committed.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.files.reading import sha256
from tests import networks
from tests.conftest import ROOT
from tests.families.test_contract import OURS

Record = dict[str, Any]
_VOLATILE = ("versions", "provenance", "checks", "sha256", "bytes", "sha256_manifest", "training")


def cases() -> Iterator[tuple[str, Callable[[], Any], ExportSettings]]:
    """Every network with the settings that it is exported by."""
    for name, make in networks.NETWORKS.items():
        yield f"networks: {name}", make, ExportSettings(with_log_prob=True, rng=True)
        yield f"networks, float16: {name}", make, ExportSettings(dtype="float16")
        yield f"networks, meeting: {name}", make, ExportSettings(solver="fused", dtype="float64")
    for family, module in OURS.items():
        for name, make in module.NETWORKS.items():
            hutchinson = family == "jko"
            yield f"{family}: {name}", make, ExportSettings(with_log_prob=True, rng=True, hutchinson=hutchinson)


def record() -> dict[str, Record]:
    """Of the networks of the tests and of the models of version 1 and of the committed exports."""
    from lunet_export import checkpoint

    found = {name: _record(make(), settings) for name, make, settings in cases()}
    for path in sorted([*(ROOT / "tests/version1/models").glob("*.pt"), *(ROOT / "exported").glob("*.pt")]):
        if "classes" in path.name:
            continue
        read = checkpoint.read(path)
        found[str(path.relative_to(ROOT))] = _record(read.weights, ExportSettings())
    return found


def _record(weights: Any, settings: ExportSettings) -> Record:
    artifact = build_artifact(weights, Provenance("golden"), settings)
    document = {key: value for key, value in artifact.manifest.document.items() if key not in _VOLATILE}
    for graph in document["graphs"].values():
        graph.pop("bytes")
    return {
        "digest": weights.digest(),
        "facts": json.loads(json.dumps(weights.facts())),
        "graphs": {name: sha256(data) for name, data in artifact.graphs.items()},
        "manifest": document,
        "vectors": json.loads(artifact.vectors_json),
    }


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if key not in old or key not in new:
                yield f"{path}.{key}: {'gone' if key in old else 'new'}"
            else:
                yield from _differences(old[key], new[key], f"{path}.{key}")
    elif old != new:
        yield f"{path}: {str(old)[:80]} -> {str(new)[:80]}"


def main() -> None:
    """Write the record, and compare it where an older one is given."""
    target, *older = (Path(word) for word in sys.argv[1:] if not word.startswith("--"))
    found = record()
    target.write_text(json.dumps(found))
    for known in older:
        before = json.loads(known.read_text())
        for name in sorted({*before, *found}):
            for line in _differences(before.get(name, {}), found.get(name, {}), ""):
                sys.stdout.write(f"{name}: {line}\n")


if __name__ == "__main__":
    main()
