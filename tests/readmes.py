"""`python -m tests.readmes`: README.md of the committed exports made anew of their manifests, all else left alone."""

import json
from pathlib import Path

from lunet_export.artifact import MANIFEST, README, open_folder
from lunet_export.export import readme
from lunet_export.export.parts import Parts
from tests.conftest import ROOT

NAMES = ("toy2d", "digits", "digits-classes", "mnist", "zuko-nsf", "sbi-nsf")
FOLDERS = [ROOT / "exported" / name for name in NAMES]


def renewed(folder: Path) -> Parts:
    """The parts of a folder, with the README.md that this version writes."""
    document = json.loads((folder / MANIFEST).read_bytes())
    del document["sha256_manifest"]
    document["noise"]["specification"] = README
    content = {name: (folder / name).read_bytes() for name in document["sha256"]}
    return Parts(document, content, readme.of_folder(document))


if __name__ == "__main__":
    for folder in FOLDERS:
        open_folder(folder)  # or nothing is written
        renewed(folder).write(folder)
