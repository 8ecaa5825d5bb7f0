"""Hostile files for every reader of the package; see README.md in this folder."""
