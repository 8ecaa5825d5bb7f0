"""Graphs of chains of layers: the frame they share, the builder, settings, solvers; nothing here knows torch."""
