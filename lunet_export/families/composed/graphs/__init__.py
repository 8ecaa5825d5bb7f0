"""The graphs of composed flows: `lunet_export.family` asks for `Blueprint`."""

from lunet_export.families.composed.graphs.blueprint import Blueprint

__all__ = ["Blueprint"]
