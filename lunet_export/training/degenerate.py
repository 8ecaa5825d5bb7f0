"""Rows whose likelihood has no bound: a model that lies on them wins by going to infinity."""

import numpy as np

from lunet_export.data import Dataset
from lunet_export.errors import DataError

#: Variance of a direction over that of its columns, below which it is none. Rounding leaves about 1e-15.
_NO_VARIANCE = 1e-10


def refuse_degenerate(data: Dataset) -> None:
    """Raise where the training rows fill fewer than D dimensions, so that max E log p(x) is infinite.

    Vectors alone: what is dequantised has the variance of its noise in every direction.

    Raises:
        DataError: A column is constant or follows from others, or there are no more rows than columns.
    """
    if data.preprocessing is not None:
        return
    rows = np.asarray(data.train, dtype=np.float64)
    spread = rows.std(axis=0)
    if len(constant := np.flatnonzero(spread <= 1e-12 * np.abs(rows).max(axis=0))):
        raise DataError(
            f"Expected columns that vary; column {constant[0]} of {data.name} is constant, so that its density has no "
            "bound. Leave it out, or add noise to it."
        )
    if len(rows) <= data.dim:
        raise DataError(
            f"Expected more training rows than columns; {data.name} has {len(rows)} for {data.dim}, through which a "
            "plane passes whose density has no bound. Give more rows."
        )
    standard = (rows - rows.mean(axis=0)) / spread
    variances, directions = np.linalg.eigh(standard.T @ standard / len(rows))
    if variances[0] < _NO_VARIANCE:
        involved = np.argsort(-np.abs(directions[:, 0]), kind="stable")
        others = [str(column) for column in involved[1:4] if abs(directions[column, 0]) > 1e-3]
        raise DataError(
            f"Expected columns of which none follows from others; column {involved[0]} of {data.name} is a linear "
            f"function of {', '.join(others)}, so that the density has no bound. Leave it out, or add noise to it."
        )
