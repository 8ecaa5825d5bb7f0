"""Every reader of the package, by name."""

from tests.fuzz.readers import folders, models, onnx_files, rows, runs, verification
from tests.fuzz.readers.base import Reader

READERS: dict[str, type[Reader]] = {
    reader.name: reader
    for module in (models, folders, onnx_files, rows, verification, runs)
    for reader in module.READERS
}
