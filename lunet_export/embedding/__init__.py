"""Exported folders in programs of other languages: ready projects, and a page for the browser, without torch or onnx.

`projects/` holds the programs, one folder per language. Users start from them, and CI builds them.
"""

from lunet_export.embedding.page import write_page
from lunet_export.embedding.project import LANGUAGES, write_project
from lunet_export.embedding.server import site_server

__all__ = ["LANGUAGES", "site_server", "write_page", "write_project"]
