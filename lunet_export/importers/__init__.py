"""Flows of other libraries as ours: FrEIA, glasflow, nflows, normflows, sbi, zuko, and PyTorch's transforms.

Objects are read by the names of their classes; none of these libraries is imported. A module of the
user's own becomes a flow by layers that the user states, and is compared as the libraries' objects are.
"""

from lunet_export.importers.importing import Imported, convert, read, survey
from lunet_export.importers.own import Reference, network_of
from lunet_export.importers.parts import Part
from lunet_export.importers.proof import Proof

__all__ = ["Imported", "Part", "Proof", "Reference", "convert", "network_of", "read", "survey"]
