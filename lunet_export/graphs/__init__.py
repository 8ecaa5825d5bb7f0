"""Graphs of chains of layers: their common frame, the builder, settings and solvers; nothing here imports torch."""
