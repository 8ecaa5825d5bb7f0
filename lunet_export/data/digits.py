"""The 8 x 8 digits that come with scikit-learn: 1797 images of 17 grey levels, no download."""

import numpy as np

from lunet_export.data.dataset import Dataset, Labels, split
from lunet_export.errors import MissingPackageError
from lunet_export.installation import install_extra
from lunet_export.preprocessing import NAMED

_VALID, _TEST = 200, 300
_NAMES = tuple(str(digit) for digit in range(10))


def load() -> Dataset:
    """Load 1297 training, 200 validation and 300 test images.

    Raises:
        MissingPackageError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingPackageError(
            f"Expected scikit-learn for the digits; it is not installed. Run: {install_extra('train')}"
        ) from None
    found = load_digits()
    images = found.images.astype(np.uint8)
    train, valid, test = split(images.reshape(len(images), -1), valid=_VALID, test=_TEST)
    labels = Labels(_NAMES, *split(found.target.astype(np.int64), valid=_VALID, test=_TEST))
    return Dataset("digits", train, valid, test, NAMED["digits"], image_shape=(8, 8), labels=labels)
