"""The families of flows, a folder each: `lunet_export.family` says what such a folder holds."""
