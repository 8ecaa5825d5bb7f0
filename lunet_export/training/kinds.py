"""The kinds of networks that can be trained, by name."""

from collections.abc import Mapping

from lunet_export.training.jko.structure import JKOStructure
from lunet_export.training.lunet.structure import LUNetStructure
from lunet_export.training.realnvp.structure import RealNVPStructure
from lunet_export.training.structure import Structure

_ALL: tuple[type[Structure], ...] = (LUNetStructure, RealNVPStructure, JKOStructure)

#: Architectures by `Structure.family`.
KINDS: Mapping[str, type[Structure]] = {kind.family: kind for kind in _ALL}
