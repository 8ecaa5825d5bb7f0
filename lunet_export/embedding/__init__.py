"""Exported folders in programs of other languages: ready projects, and a page for the browser. No torch, no onnx.

`projects/` holds the programs themselves, a folder a language; they are what users start from and what CI builds.
"""

from lunet_export.embedding.page import write_page
from lunet_export.embedding.project import LANGUAGES, write_project
from lunet_export.embedding.server import site_server

__all__ = ["LANGUAGES", "site_server", "write_page", "write_project"]
