"""The sizes of the JKO steps: growth, stopping and evening out (arXiv 2212.14424, section 4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from lunet_export.errors import BadInputError


@dataclass(frozen=True)
class Growth:
    """This growth has h_k = min(factor^(k - 1) first_size, largest_size) until a block hardly moves, then rounds.

    The rounds train all blocks again, at sizes that are evened out.

    Raises:
        BadInputError: if a number is out of its range.
    """

    most_blocks: int = 8
    first_size: float = 0.07
    factor: float = 1.4
    largest_size: float = 5.0
    stop: float = 0.003  # E|T(x) - x|^2 / E|T(x)|^2 of a block below which no other follows
    rounds: int = 1  # number of rounds that train all blocks again, at evened sizes
    towards: float = 0.5  # share of the way to equal arc lengths per round
    refine: bool = False  # whether a last round cuts each block in two and trains all again

    def __post_init__(self) -> None:
        for name in ("most_blocks", "first_size", "factor", "largest_size"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BadInputError(f"Expected a positive {name.replace('_', ' ')}; got {getattr(self, name)}.")
        if not (self.stop >= 0 and self.rounds >= 0 and 0 < self.towards <= 1):
            raise BadInputError(f"Expected stop and rounds of 0 or more, towards in (0, 1]; got {self}.")

    def size(self, number: int) -> float:
        """Return h_k of block `number`, from 1."""
        return min(self.factor ** (number - 1) * self.first_size, self.largest_size)

    def enough(self, blocks: int, moved: float) -> bool:
        """Return whether no block follows.

        Args:
            blocks: Number of blocks so far.
            moved: E|T(x) - x|^2 / E|T(x)|^2 of the last one.
        """
        return blocks >= self.most_blocks or moved < self.stop

    def evened(self, sizes: Sequence[float], lengths: Sequence[float]) -> list[float]:
        """Return sizes for the next round: h_k <- min(h_k + towards (mean S / S_k - 1) h_k, largest_size).

        S_k are arc lengths. mean S / S_k is clipped to [1/2, 2]: a block that hardly moves tells little.
        """
        mean = sum(lengths) / len(lengths)
        shares = [min(max(mean / max(length, 1e-12), 0.5), 2.0) for length in lengths]
        return [
            min(size * (1 + self.towards * (share - 1)), self.largest_size)
            for size, share in zip(sizes, shares, strict=True)
        ]

    def length(self, blocks: int | None = None) -> int:
        """Return how many times a block is trained, with `blocks` blocks or with the largest number of them."""
        count = blocks or self.most_blocks
        return count * (1 + self.rounds + (2 if self.refine else 0))
