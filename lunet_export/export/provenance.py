"""The provenance of a model and of its export."""

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

#: Packages whose versions are in a manifest, besides our own, Python and ONNX Runtime: they affect bytes or figures.
_MADE_WITH = ("numpy", "onnx", "torch")


@dataclass(frozen=True)
class SourceFile:
    """A file that a model was read from. Its folder is not recorded, as it is private."""

    name: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the name, hash and size of a file."""
        digest, size = reading.digest_and_size(path)
        return cls(path.name, digest, size)


@dataclass(frozen=True)
class Provenance:
    """Name, source and training record of a model."""

    name: str
    source: str = "arrays"  # kind of checkpoint: `lunet_export`, `authors`, `authors-realnvp`
    image_shape: tuple[int, ...] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, SourceFile] = field(default_factory=dict)  # by role: `model`, `latent_stats`
    assumed: tuple[str, ...] = ()  # sentences about what was assumed without proof
    classes: tuple[Mapping[str, Any], ...] = ()  # of a mixture: the training record of each class
    columns: Names | None = None  # names of the columns of vectors, if they have names

    @property
    def shown(self) -> dict[str, Any]:
        """Return the entries of `model` in a manifest that describe rows: shape of an image, names of columns."""
        named = {"columns": list(self.columns)} if self.columns else {}
        return {"image_shape": list(self.image_shape) if self.image_shape else None, **named}

    def document(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry of a manifest: files, settings, machine. It has no time, so that exports are reproducible.

        Args:
            settings: Settings of the export as plain values.
        """
        return {
            "files": {role: asdict(file) for role, file in self.files.items()},
            "settings": dict(settings),
            "platform": f"{platform.system()} {platform.machine()}",
            **({"assumed": list(self.assumed)} if self.assumed else {}),
        }


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that make an export, without importing them."""
    found = {"lunet_export": lunet_export.__version__, "python": platform.python_version()}
    for name in _MADE_WITH:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found | environment.packages()
