"""LU-Net (arXiv 2302.10524): x -> L (U x) + b with triangular L and U, a leaky softplus between the blocks."""
