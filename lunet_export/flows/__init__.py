"""Flows as chains of layers: constructors of the published kinds, and how each is written down. No torch, no onnx."""

from lunet_export.flows.jko import JKO, jko
from lunet_export.flows.layered import Layered, layered
from lunet_export.flows.lunet import LUNet, lunet
from lunet_export.flows.realnvp import RealNVP, realnvp
from lunet_export.layers import Kind

__all__ = ["JKO", "KINDS", "LUNet", "Layered", "RealNVP", "jko", "layered", "lunet", "realnvp"]

#: The kinds that files and manifests name, by name.
KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Layered, JKO, LUNet, RealNVP)}
