"""The settings of an export's graphs."""

from dataclasses import dataclass, field

from lunet_export.errors import BadInputError

DTYPES = ("float32", "float64", "float16")
TARGETS = ("cpu", "cuda")


@dataclass(frozen=True)
class Load:
    """A load says where, and with how many rows per call, the export will run.

    Raises:
        BadInputError: if the provider is unknown or the batch is below 1.
    """

    provider: str = "cpu"
    batch: int = 1

    def __post_init__(self) -> None:
        if self.provider not in TARGETS or self.batch < 1:
            raise BadInputError(f"Expected a provider of cpu, cuda and a batch of 1 or more; got {self}.")


@dataclass(frozen=True)
class ExportSettings:
    """These settings are what can be chosen about the graphs.

    Raises:
        BadInputError: if the dtype is unknown.
    """

    solver: str | None = None  # for LU layers: a name of `graphs.solvers.SOLVERS`, or `auto`; None is `unrolled`
    tile: int | None = None  # rows of the solver's tile; None takes its default
    dtype: str = "float32"  # or `float64`; `float16` is for the matrix products only
    with_log_prob: bool = False  # a third graph, z -> x, log_prob
    rng: bool = False  # a graph that draws z itself
    load: Load = field(default_factory=Load)  # what `auto` optimizes for
    steps: int | None = None  # JKO-iFlow only: steps per block; None takes those of training
    hutchinson: bool = False  # JKO-iFlow only: a graph that estimates the divergence along probes that are fed

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BadInputError(f"Expected a dtype of {', '.join(DTYPES)}; got {self.dtype}.")

    @property
    def tensors(self) -> str:
        """Return the dtype of every tensor that is not inside a matrix product."""
        return "float32" if self.dtype == "float16" else self.dtype

    @property
    def products(self) -> str | None:
        """Return the shorter dtype of the matrix products, if there is one."""
        return "float16" if self.dtype == "float16" else None

    @property
    def graphs(self) -> tuple[str, ...]:
        """Return the names of the graphs to write."""
        optional = {
            "sampling_with_log_prob": self.with_log_prob,
            "random_sampling": self.rng,
            "density_estimate": self.hutchinson,
        }
        return ("density", "sampling", *(name for name, wanted in optional.items() if wanted))
