"""How large one ONNX file may be: known from the shapes alone, before anything is built."""

import numpy as np

from lunet_export.errors import BadInputError

FILE_BYTES = 2**31 - 1  # Protobuf cannot hold more
#: Largest size of the matrices in a file; the rest is for vectors, names and nodes.
LARGEST_BYTES = FILE_BYTES - 2**24


def bytes_of(numbers: int, dtype: str) -> int:
    """Return how many bytes `numbers` numbers of a dtype take."""
    return numbers * np.dtype(dtype).itemsize


def validate_size(numbers: int, dtype: str, cure: str, what: str = "graphs") -> None:
    """Raise if a graph would not fit into one file.

    Args:
        numbers: Numbers of the largest graph.
        dtype: Dtype of the numbers.
        cure: Last sentence of the error, which says what to do.
        what: Words for what must fit.

    Raises:
        BadInputError: if it would not fit.
    """
    size = bytes_of(numbers, dtype)
    if size > LARGEST_BYTES:
        raise BadInputError(
            f"Expected {what} of at most 2 GB, the limit of one ONNX file; this one needs {size / 1e9:.1f} GB in "
            f"{dtype}. {cure}"
        )
