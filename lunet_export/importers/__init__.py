"""Flows of other libraries as ours: nflows, normflows, sbi, zuko, and PyTorch's transforms.

Objects are read by the names of their classes; none of these libraries is imported.
"""

from lunet_export.importers.importing import Imported, convert, read, survey
from lunet_export.importers.parts import Part
from lunet_export.importers.proof import Proof

__all__ = ["Imported", "Part", "Proof", "convert", "read", "survey"]
