"""What ONNX Runtime did on the device, from the log that the stand-in CUDA runtime writes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TF32 = 3  # CUBLAS_TF32_TENSOR_OP_MATH
_CAPTURED = "captured "


@dataclass
class Counts:
    """Calls by kind."""

    kernels: int = 0
    products: int = 0  # cuBLAS calls that launch
    copies_on_device: int = 0
    uploads: int = 0
    downloads: int = 0
    memsets: int = 0
    allocations: int = 0  # device and pinned memory, and their release
    synchronisations: int = 0
    captures: int = 0
    replays: int = 0
    math_modes: list[int] = field(default_factory=list)

    @property
    def launches(self) -> int:
        """Kernels, cuBLAS calls and copies on the device: what the manifest calls work items."""
        return self.kernels + self.products + self.copies_on_device

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Counts":
        """Of lines of the log, whether captured or not."""
        counts = cls()
        for line in lines:
            match line.removeprefix(_CAPTURED).split():
                case ["KERNEL", *_]:
                    counts.kernels += 1
                case ["CUBLAS", *_]:
                    counts.products += 1
                case ["COPY", "D2D", *_]:
                    counts.copies_on_device += 1
                case ["COPY", "H2D", *_]:
                    counts.uploads += 1
                case ["COPY", "D2H", *_]:
                    counts.downloads += 1
                case ["MEMSET", *_]:
                    counts.memsets += 1
                case ["ALLOC" | "FREE", *_]:
                    counts.allocations += 1
                case ["SYNC", *_]:
                    counts.synchronisations += 1
                case ["CAPTURE", "BEGIN"]:
                    counts.captures += 1
                case ["REPLAY"]:
                    counts.replays += 1
                case ["MATHMODE", mode]:
                    counts.math_modes.append(int(mode))
                case ["CAPTURE", "END"] | ["CALL", *_]:
                    pass
                case _:
                    raise ValueError(f"a line that the stand-in does not write: {line!r}")
        return counts

    def as_json(self) -> dict[str, Any]:
        """For `Counts(**document)`."""
        return asdict(self)


def inside_captures(lines: Iterable[str]) -> list[str]:
    """The lines that were written between the begin and the end of a capture."""
    return [line for line in lines if line.startswith(_CAPTURED)]


class Journal:
    """The log of this process.

    Args:
        path: CUDASTANDIN_LOG.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def section(self) -> Iterator[list[str]]:
        """A list that holds, once the block has ended, the lines written in it."""
        begin = self._path.stat().st_size if self._path.exists() else 0
        lines: list[str] = []
        yield lines
        with self._path.open("rb") as file:
            file.seek(begin)
            lines += file.read().decode().splitlines()
