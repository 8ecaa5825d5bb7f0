"""Composed flows: layers in a row, as other libraries build them and `lunet_export.importers` reads them."""
