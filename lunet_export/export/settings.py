"""What can be chosen about an export, and what is known about its model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lunet_export.errors import BadInputError
from lunet_export.export.estimate import Load

DTYPES = ("float32", "float64", "float16")


@dataclass(frozen=True)
class ExportSettings:
    """What can be chosen about the graphs.

    Raises:
        BadInputError: An unknown dtype.
    """

    solver: str = "unrolled"  # a name of `graphs.solvers.SOLVERS`, or `auto`
    tile: int | None = None  # rows of the solver's tile; None takes its default
    dtype: str = "float32"  # or `float64`; `float16` runs the matrix products in it and nothing else
    with_log_prob: bool = False  # a third graph, z -> x, log_prob
    rng: bool = False  # a graph that draws z itself
    load: Load = field(default_factory=Load)  # what `auto` optimises for

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BadInputError(f"Expected a dtype of {', '.join(DTYPES)}; got {self.dtype}.")

    @property
    def tensors(self) -> str:
        """The dtype of every tensor that is not inside a matrix product."""
        return "float32" if self.dtype == "float16" else self.dtype

    @property
    def products(self) -> str | None:
        """The shorter dtype of the matrix products, if there is one."""
        return "float16" if self.dtype == "float16" else None

    @property
    def graphs(self) -> tuple[str, ...]:
        """The names of the graphs to write."""
        optional = {"sampling_with_log_prob": self.with_log_prob, "random_sampling": self.rng}
        return ("density", "sampling", *(name for name, wanted in optional.items() if wanted))


@dataclass(frozen=True)
class Provenance:
    """What is known about the model beside its weights."""

    name: str
    source: str = "arrays"  # kind of checkpoint: `lunet_export`, `authors`
    image_shape: tuple[int, ...] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
