"""The Jacobian of a layer at given rows, as a map: products with it, its inverse and their transposes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RoundTrip:
    """These are sizes (N, D) of the errors that x -> y -> x makes at a layer, in units: those of products, and others.

    Each is given where it is easiest to state: in x, or moved on to y.
    """

    at_x: list[Array] = field(default_factory=list)
    products_at_x: list[Array] = field(default_factory=list)
    products_at_y: list[Array] = field(default_factory=list)
    at_y: list[Array] = field(default_factory=list)


class Linearised(ABC):
    """This is the Jacobian J (D, D) of every row; all its maps take and give (N, D)."""

    @abstractmethod
    def apply(self, v: Array) -> Array:
        """Return J v."""

    @abstractmethod
    def apply_transposed(self, v: Array) -> Array:
        """Return J^T v."""

    @abstractmethod
    def solve(self, v: Array) -> Array:
        """Return J^-1 v."""

    @abstractmethod
    def solve_transposed(self, v: Array) -> Array:
        """Return J^-T v."""


@dataclass(frozen=True)
class Diagonal(Linearised):
    """This Jacobian is diagonal: slopes (N, D), or (D,) where they are the same for all rows."""

    slopes: Array

    def apply(self, v: Array) -> Array:
        return v * self.slopes

    apply_transposed = apply

    def solve(self, v: Array) -> Array:
        return v / self.slopes

    solve_transposed = solve


@dataclass(frozen=True)
class Matrix(Linearised):
    """This Jacobian is one matrix for all rows, with its inverse; both (D, D)."""

    matrix: Array
    inverse: Array

    def apply(self, v: Array) -> Array:
        return v @ self.matrix.T

    def apply_transposed(self, v: Array) -> Array:
        return v @ self.matrix

    def solve(self, v: Array) -> Array:
        return v @ self.inverse.T

    def solve_transposed(self, v: Array) -> Array:
        return v @ self.inverse


@dataclass(frozen=True)
class Reordered(Linearised):
    """This Jacobian is v -> v[:, order]."""

    order: NDArray[np.int64]

    @cached_property
    def back(self) -> NDArray[np.int64]:
        """Return the order that undoes `order`."""
        return np.argsort(self.order)

    def apply(self, v: Array) -> Array:
        return v[:, self.order]

    def solve(self, v: Array) -> Array:
        return v[:, self.back]

    apply_transposed = solve
    solve_transposed = apply


@dataclass(frozen=True)
class Inverted(Linearised):
    """This Jacobian is the inverse of another."""

    inner: Linearised

    def apply(self, v: Array) -> Array:
        return self.inner.solve(v)

    def apply_transposed(self, v: Array) -> Array:
        return self.inner.solve_transposed(v)

    def solve(self, v: Array) -> Array:
        return self.inner.apply(v)

    def solve_transposed(self, v: Array) -> Array:
        return self.inner.apply_transposed(v)
