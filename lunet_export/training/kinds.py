"""The kinds of networks that can be trained, by name."""

from collections.abc import Mapping

from lunet_export.training.architecture import Architecture
from lunet_export.training.jko.architecture import JKOArchitecture
from lunet_export.training.lunet.architecture import LUNetArchitecture
from lunet_export.training.lunet.splines import SplineArchitecture
from lunet_export.training.realnvp.architecture import RealNVPArchitecture

_ALL: tuple[type[Architecture], ...] = (LUNetArchitecture, SplineArchitecture, RealNVPArchitecture, JKOArchitecture)

#: Architectures by `Architecture.family`.
KINDS: Mapping[str, type[Architecture]] = {kind.family: kind for kind in _ALL}
