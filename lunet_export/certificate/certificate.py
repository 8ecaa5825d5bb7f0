"""`Certificate`: what export writes into the manifest, and how it is read."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate.bounds import Bounds, chain_bounds, data_bounds
from lunet_export.certificate.jacobian import Linearization
from lunet_export.certificate.round_trip import predicted_round_trip
from lunet_export.checks.rounding import unit_roundoff
from lunet_export.errors import BadInputError
from lunet_export.layers import Chain

Array = NDArray[np.float64]

#: Right answers came up to 0.85 of the prediction; a check allows this many times it.
SAFETY = 2.0

_BATCH = 64  # rows at once: Lanczos keeps up to 80 vectors of each
_ROWS = ("network_stretch", "network_squeeze", "stretch", "squeeze", "round_trip")


@dataclass(frozen=True)
class LocalRows:
    """These are figures of each row of data, (N,): singular values of the Jacobian, the predicted error of x -> z -> x.

    stretch and squeeze are s_max and s_min in data space, network_* those behind the pre-processing, the same where
    there is none. round_trip is in the unit of x, the Euclidean norm of a row, for the runtime's dtype. Infinite where
    float64 overflows. `converged` tells whether Lanczos converged for all rows.
    """

    network_stretch: Array
    network_squeeze: Array
    stretch: Array
    squeeze: Array
    round_trip: Array
    converged: bool

    @classmethod
    def of(
        cls,
        linear: Linearization,
        x: Array,
        *,
        dtype: str,
        products: str | None = None,
        context: Array | None = None,
        on_rows: Callable[[int], None] = lambda n: None,
    ) -> Self:
        """Return the figures of rows x (N, D) in data space, for a runtime of `dtype`.

        Args:
            linear: Network with its Jacobians.
            x: Rows in data space.
            dtype: Dtype of the runtime.
            products: Shorter dtype of its matrix products, if any.
            context: Contexts of the rows (N, C), for a conditional flow.
            on_rows: Function called with the number of rows after each batch.
        """
        parts: dict[str, list[Array]] = {name: [] for name in _ROWS}
        converged = True
        for start in range(0, len(x), _BATCH):
            part = x[start : start + _BATCH]
            given = None if context is None else context[start : start + _BATCH]
            network = linear.local(part, in_data_space=False, context=given)
            data = linear.local(part, in_data_space=True, context=given) if linear.weights.preprocessing else network
            round_trip = predicted_round_trip(linear, part, dtype=dtype, products=products, context=given)
            found = (network.stretch, network.squeeze, data.stretch, data.squeeze, round_trip)
            for name, values in zip(_ROWS, found, strict=True):
                parts[name].append(values)
            converged = converged and network.converged and data.converged
            on_rows(len(part))
        return cls(**{name: np.concatenate(values) for name, values in parts.items()}, converged=converged)


@dataclass(frozen=True)
class Certificate:
    """A certificate holds certified bounds of a model, and the local figures of the rows of its density vectors.

    `network` holds behind the pre-processing, on all of R^D; `data` for the whole map on its domain.
    """

    network: Bounds
    data: Bounds
    unit_roundoff: float  # roundoff of the products of the runtime that round_trip is predicted for
    rows: LocalRows

    @classmethod
    def of(cls, weights: Chain, chain: Bounds, x: Array, *, dtype: str, products: str | None = None) -> "Certificate":
        """Return the certificate of a model whose `chain_bounds` are known, with the local figures of rows x (N, D)."""
        rows = LocalRows.of(Linearization(weights), x, dtype=dtype, products=products)
        return cls(chain, data_bounds(weights, chain), unit_roundoff(products or dtype), rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; null is infinite."""
        rows = {name: [_or_null(value) for value in getattr(self.rows, name).tolist()] for name in _ROWS}
        bounds = {
            name: {key: _or_null(value) for key, value in asdict(getattr(self, name)).items()}
            for name in ("network", "data")
        }
        return {
            **bounds,
            "unit_roundoff": self.unit_roundoff,
            "rows": {**rows, "converged": self.rows.converged},
        }

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Return the certificate of a parsed manifest.

        Raises:
            ValueError: if a part is missing or is not what it should be; the text names it.
        """
        parts = _entries(document, "certificate", ("network", "data", "unit_roundoff", "rows"))
        network, data = (_bounds(parts[name], f"certificate.{name}") for name in ("network", "data"))
        rows = _entries(parts["rows"], "certificate.rows", (*_ROWS, "converged"))
        arrays = {name: _positive_numbers(rows[name], f"certificate.rows.{name}") for name in _ROWS}
        if len({len(array) for array in arrays.values()}) != 1 or not isinstance(rows["converged"], bool):
            raise ValueError("certificate.rows")
        unit = _number(parts["unit_roundoff"], "certificate.unit_roundoff")
        if not 0 < unit < 1:
            raise ValueError("certificate.unit_roundoff")
        return cls(network, data, unit, LocalRows(**arrays, converged=rows["converged"]))


def certify(weights: Chain, x: Array, *, dtype: str, products: str | None = None) -> Certificate:
    """Return the certificate of a model with the local figures of rows x (N, D) of data.

    Args:
        weights: Model to certify.
        x: Rows in data space.
        dtype: Dtype of the runtime that the round trip is predicted for.
        products: Shorter dtype of its matrix products.

    Raises:
        BadInputError: if a layer has no bounds.
    """
    bounds = chain_bounds(weights)
    if bounds is None:
        raise BadInputError(
            "Expected layers whose stretch is bounded; some of these are not. Give an LU-Net, or LU layers with "
            "activations between them."
        )
    return Certificate.of(weights, bounds, x, dtype=dtype, products=products)


def _or_null(value: float) -> float | None:
    return value if isfinite(value) else None


def _entries(value: object, name: str, keys: tuple[str, ...]) -> dict[str, object]:
    if not isinstance(value, dict) or not {*keys} <= value.keys():
        raise ValueError(name)
    return value


def _number(value: object, name: str, *, null: float | None = None) -> float:
    if value is None and null is not None:
        return null
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ValueError(name)
    return float(value)


def _positive_numbers(value: object, name: str) -> Array:
    if not isinstance(value, list):
        raise ValueError(name)
    numbers = np.array([_number(entry, name, null=inf) for entry in value], dtype=np.float64)
    if (numbers < 0).any():
        raise ValueError(name)
    return numbers


def _bounds(value: object, name: str) -> Bounds:
    entries = _entries(value, name, ("lip_forward", "lip_inverse", "log_det_min", "log_det_max"))
    forward, inverse = (_number(entries[key], f"{name}.{key}", null=inf) for key in ("lip_forward", "lip_inverse"))
    low, high = (_number(entries[key], f"{name}.{key}") for key in ("log_det_min", "log_det_max"))
    if not (forward > 0 and inverse > 0 and low <= high):
        raise ValueError(name)
    return Bounds(forward, inverse, low, high)
