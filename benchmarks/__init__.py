"""Benchmarks, one script per question; see README.md. Run them from the root: `python -m benchmarks.peers`."""
