"""Ways to make a good file bad. From the same state of a `random.Random` comes the same."""

from random import Random

#: Where a hostile file would have a reader look. `outside` is beside the folder of the input.
ELSEWHERE = ("../outside/secret", "../../outside/secret", "/etc/hostname", "/dev/zero", "/proc/self/environ")


def chance(rng: Random, share: float) -> bool:
    """True in that share of cases."""
    return rng.random() < share
