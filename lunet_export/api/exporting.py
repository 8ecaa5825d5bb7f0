"""The export of a `Model`, for the command and for Python."""

from collections.abc import Callable
from pathlib import Path

from lunet_export.api.models import Model, eager_of, provenance_of
from lunet_export.export import Exported, ExportSettings, export


def write(
    model: Model,
    folder: Path,
    settings: ExportSettings,
    *,
    force: bool,
    compare: bool,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Write the folder of a model, compared with eager PyTorch; arguments and errors are those of `export`."""
    read = model.checkpoint
    return export(
        read.model,
        folder,
        provenance_of(read, folder, model.files),
        settings,
        examples=[member.examples for member in read.members] or read.examples,
        eager=eager_of(settings.tensors),
        force=force,
        compare=compare,
        on_stage=on_stage,
    )
