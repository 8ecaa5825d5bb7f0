"""What is known about a model beside its weights, and with what an export of it was made."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import lunet_export
from lunet_export.columns import Names
from lunet_export.files import reading
from lunet_export.runtime import environment

#: Whose versions a manifest tells, beside ours, Python's and the ONNX Runtime's: they made the bytes or the figures.
_MADE_WITH = ("numpy", "onnx", "torch")


@dataclass(frozen=True)
class SourceFile:
    """A file that a model was read from. Its folder is nobody's business."""

    name: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """What a file is now."""
        digest, size = reading.digest_and_size(path)
        return cls(path.name, digest, size)


@dataclass(frozen=True)
class Provenance:
    """What is known about the model beside its weights."""

    name: str
    source: str = "arrays"  # kind of checkpoint: `lunet_export`, `authors`, `authors-realnvp`
    image_shape: tuple[int, ...] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, SourceFile] = field(default_factory=dict)  # by what they gave: `model`, `latent_stats`
    assumed: tuple[str, ...] = ()  # sentences: what no file proves, and was taken for granted
    classes: tuple[Mapping[str, Any], ...] = ()  # of a mixture, what training recorded of each class
    columns: Names | None = None  # names of the columns of vectors, where they have any

    @property
    def shown(self) -> dict[str, Any]:
        """What `model` of a manifest says of rows: the shape of an image, and names of columns where there are any."""
        named = {"columns": list(self.columns)} if self.columns else {}
        return {"image_shape": list(self.image_shape) if self.image_shape else None, **named}

    def document(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The entry of a manifest: the files, what was asked for, and the machine. No time: the same gives the same.

        Args:
            settings: What was chosen of the export, plain values.
        """
        return {
            "files": {role: asdict(file) for role, file in self.files.items()},
            "settings": dict(settings),
            "platform": f"{platform.system()} {platform.machine()}",
            **({"assumed": list(self.assumed)} if self.assumed else {}),
        }


def versions() -> dict[str, str]:
    """Versions of what an export is made with, as installed; nothing is imported for it."""
    found = {"lunet_export": lunet_export.__version__, "python": platform.python_version()}
    for name in _MADE_WITH:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found | environment.packages()
