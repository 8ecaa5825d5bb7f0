"""Model files: our own `model.pt`, and the layout of the code released with arXiv 2302.10524."""

from lunet_export.checkpoint.model import (
    CLASSES_FORMAT,
    FORMAT,
    Checkpoint,
    load,
    read,
    save,
    write,
    write_checkpoint,
    write_classes,
    write_weights,
)

__all__ = [
    "CLASSES_FORMAT",
    "FORMAT",
    "Checkpoint",
    "load",
    "read",
    "save",
    "write",
    "write_checkpoint",
    "write_classes",
    "write_weights",
]
