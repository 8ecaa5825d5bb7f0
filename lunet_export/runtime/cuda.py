"""Typed options of ONNX Runtime's CUDA provider: for a misspelt one it would drop CUDA and run on the CPU."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, Self, get_args

from lunet_export.errors import ProviderError

Arena = Literal["next-power-of-two", "same-as-requested"]
ARENAS: tuple[Arena, ...] = get_args(Arena)

_ARENA = {"next-power-of-two": "kNextPowerOfTwo", "same-as-requested": "kSameAsRequested"}


@dataclass(frozen=True)
class CudaOptions:
    """Options of a flow on CUDA.

    Raises:
        ProviderError: if a value is not of its type or range.
    """

    device_id: int = 0  # as the driver counts under CUDA_VISIBLE_DEVICES
    memory_limit: int | None = None  # bytes that a session's arena may take; None for all of the device
    arena: Arena = "next-power-of-two"  # how the arena grows; "same-as-requested" leaves memory to others
    tf32: bool = False  # round the inputs of matrix products to 10 bits of mantissa, for speed

    def __post_init__(self) -> None:
        whole = isinstance(self.device_id, int) and not isinstance(self.device_id, bool)
        if not whole or self.device_id < 0:
            raise ProviderError(f"Expected a device_id of 0 or more; got {self.device_id!r}.")
        limited = isinstance(self.memory_limit, int) and not isinstance(self.memory_limit, bool)
        if self.memory_limit is not None and not (limited and self.memory_limit > 0):
            raise ProviderError(f"Expected a memory_limit in bytes, above 0; got {self.memory_limit!r}.")
        if self.arena not in ARENAS:
            raise ProviderError(f"Expected an arena of {', '.join(ARENAS)}; got {self.arena!r}.")
        if not isinstance(self.tf32, bool):
            raise ProviderError(f"Expected tf32 to be True or False; got {self.tf32!r}.")

    @classmethod
    def of(cls, options: "CudaOptions | Mapping[str, Any] | None") -> Self:
        """Return options as they are, or from names and values, as in a configuration file; None takes the defaults.

        Raises:
            ProviderError: if a name is unknown, or a value is not of its type or range.
        """
        if options is None:
            return cls()
        if isinstance(options, cls):
            return options
        names = [field.name for field in fields(cls)]
        given: Mapping[str, Any] = options  # type: ignore[assignment]
        for name in given:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise ProviderError(f"Expected CUDA options of {', '.join(names)}; got {name!r}.{hint}")
        return cls(**given)

    def for_session(self, *, cuda_graph: bool) -> dict[str, str]:
        """Return the options in ONNX Runtime's names; TF32 always, since ONNX Runtime turns it on by default."""
        options = {
            "device_id": str(self.device_id),
            "arena_extend_strategy": _ARENA[self.arena],
            "use_tf32": str(int(self.tf32)),
        }
        if self.memory_limit is not None:
            options["gpu_mem_limit"] = str(self.memory_limit)
        return options | ({"enable_cuda_graph": "1"} if cuda_graph else {})
