"""One script per question; see README.md. Run from the repository's root: `python -m benchmarks.peers`."""
