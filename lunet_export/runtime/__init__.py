"""Running an exported folder with NumPy and ONNX Runtime only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lunet_export.artifact import Artifact, open_folder
from lunet_export.runtime.classes import ExportedClasses
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.flow import ExportedFlow
from lunet_export.runtime.providers import Provider

__all__ = ["ExportedClasses", "ExportedFlow", "open_export"]


def open_export(
    source: Path | str | Artifact,
    *,
    provider: Provider = "auto",
    threads: int | None = None,
    cuda: CudaOptions | Mapping[str, Any] | None = None,
) -> ExportedFlow | ExportedClasses:
    """Open the flow or the mixture of a folder, whichever it holds. Arguments and errors are as for `ExportedFlow`."""
    artifact = source if isinstance(source, Artifact) else open_folder(source)
    kind = ExportedClasses if artifact.manifest.names else ExportedFlow
    return kind(artifact, provider=provider, threads=threads, cuda=cuda)
