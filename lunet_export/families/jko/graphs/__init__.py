"""JKO-iFlow's graphs: `lunet_export.family` asks for `Blueprint`."""

from lunet_export.families.jko.graphs.blueprint import Blueprint

__all__ = ["Blueprint"]
