"""RealNVP (Dinh et al. 2017, arXiv 1605.08803): affine couplings, the baseline of the LU-Net paper's Table 1.

Two networks: the convolutional one of images that the paper compared with, and a dense one of vectors.
"""
