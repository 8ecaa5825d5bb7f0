"""The 8 x 8 digits that come with scikit-learn: 1797 images of 17 grey levels, no download."""

import numpy as np

from lunet_export.data.dataset import Dataset, split
from lunet_export.errors import MissingPackageError
from lunet_export.preprocessing import NAMED


def load() -> Dataset:
    """1297 training, 200 validation and 300 test images.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingPackageError(
            "Expected scikit-learn for the digits; it is not installed. Run: pip install 'lunet-export[train]'"
        ) from None
    images = load_digits().images.astype(np.uint8)
    train, valid, test = split(images.reshape(len(images), -1), valid=200, test=300)
    return Dataset("digits", train, valid, test, NAMED["digits"], image_shape=(8, 8))
