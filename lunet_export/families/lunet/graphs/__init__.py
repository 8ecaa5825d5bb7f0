"""LU-Net's graphs: `lunet_export.family` asks for `Blueprint`."""

from lunet_export.families.lunet.graphs.blueprint import Blueprint

__all__ = ["Blueprint"]
