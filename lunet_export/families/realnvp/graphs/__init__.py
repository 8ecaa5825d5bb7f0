"""RealNVP's graphs: `lunet_export.family` asks for `Blueprint`."""

from lunet_export.families.realnvp.graphs.blueprint import Blueprint

__all__ = ["Blueprint"]
