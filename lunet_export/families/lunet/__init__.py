"""LU-Net (arXiv 2302.10524): x -> L (U x) + b with triangular L and U, an elementwise activation between the blocks."""
