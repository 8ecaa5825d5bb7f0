"""`Dataset`: three splits of rows and what is needed to read them."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import DataError
from lunet_export.preprocessing import Logit, dequantize

Rows = NDArray[np.generic]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Dataset:
    """Rows of integers (grey levels, when `preprocessing` is set) or of floats (vectors), split for good.

    `train` is learnt from, `valid` chooses the epoch, `test` is looked at once. Shapes: (N, D).
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows
    preprocessing: Logit | None = None
    image_shape: tuple[int, ...] | None = None  # (height, width) or (height, width, channels)
    public: bool = True  # rows of public sets may travel inside a checkpoint as examples

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return int(self.train.shape[1])

    def digest(self) -> str:
        """SHA-256 of what training sees, so that a resumed run is one of the same data."""
        state = hashlib.sha256(f"{self.preprocessing} {self.image_shape} {self.train.dtype}".encode())
        for rows in (self.train, self.valid, self.test):
            state.update(np.ascontiguousarray(rows).tobytes())
        return state.hexdigest()

    def continuous(self, rows: Rows, noise: Floats) -> Floats:
        """The rows as the density takes them, in the dtype of `noise`: grey levels plus noise, vectors unchanged."""
        return dequantize(rows, noise) if self.preprocessing else rows.astype(noise.dtype)


def split(rows: Rows, *, valid: int, test: int) -> tuple[Rows, Rows, Rows]:
    """Train, validation and test rows by one fixed shuffle that depends on the number of rows only.

    Raises:
        DataError: Fewer than 10 rows, or too few for the split.
    """
    if len(rows) < 10 or len(rows) <= valid + test:
        raise DataError(f"Expected at least 10 rows to train and test on; got {len(rows)}. Give more data.")
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = rows[order]
    return shuffled[valid + test :], shuffled[:valid], shuffled[valid : valid + test]
