"""Units of likelihood: nats, bits/dim, and the figure that LU-Net's released code prints."""

from math import log

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def bits_per_dim(log_prob: Array, dim: int) -> Array:
    """Return -log p / (D ln 2) for log p in nats.

    If x is a grey level plus uniform noise, its mean is an upper bound for the discrete image's negative log-likelihood
    in bits/pixel (Theis et al. 2016, arXiv 1511.01844, section 3.1).
    """
    return -log_prob / (dim * log(2))


def paper_convention(log_prob: Array, preprocessing_log_det: Array, dim: int) -> Array:
    """Return the bits/dim that the code released with arXiv 2302.10524 would print for the same model and rows.

    -(log p(x) - log|det dh/dx|) / (D ln 2) - 1/2, with h the pre-processing of x: its Jacobian is left out, and log(pi)
    stands for log(2 pi), which is half a bit too low. This is only for comparison with the paper's Table 1.

    Args:
        log_prob: log p(x) in nats, data space, (N,).
        preprocessing_log_det: log|det dh/dx| at the same rows, (N,); 0 without pre-processing.
        dim: Number of dimensions D.
    """
    return bits_per_dim(log_prob - preprocessing_log_det, dim) - 0.5
