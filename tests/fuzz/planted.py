"""Readers with one fault each, of every kind that the harness must notice, and one without."""

import os
import time
from pathlib import Path
from random import Random
from typing import Any

from lunet_export.errors import BadInputError
from tests.fuzz.readers.base import Case, Reader


class Planted(Reader):
    """Takes any file, and answers with its bytes."""

    name, share = "without a fault", 1

    def prepare(self) -> None:
        """A file is all that there is."""

    def good(self, folder: Path) -> None:
        (folder / "file").write_bytes(b"good")

    def mutate(self, folder: Path, rng: Random) -> Case:
        (folder / "file").write_bytes(rng.randbytes(4))
        return Case("bytes")

    def read(self, folder: Path) -> Any:
        data = (folder / "file").read_bytes()
        if data != b"good":
            self.fault(folder)
        return data

    def fault(self, folder: Path) -> None:
        """What goes wrong; here nothing does."""


class Foreign(Planted):
    name = "foreign exception"

    def fault(self, folder: Path) -> None:
        raise KeyError("dim")


class Lines(Planted):
    name = "no sentence"

    def fault(self, folder: Path) -> None:
        error = BadInputError("Expected one line.")
        error.args = ("Expected one line.\nTraceback (most recent call last):",)
        raise error


class Endless(Planted):
    name = "hang"

    def fault(self, folder: Path) -> None:
        while True:
            pass


class Waiting(Planted):
    """As a reader of a pipe that nobody writes to."""

    name = "waiting"

    def fault(self, folder: Path) -> None:
        time.sleep(3600)


class Trusting(Planted):
    """Reserves what a header claims, and fills none of it."""

    name = "memory"

    def fault(self, folder: Path) -> None:
        import numpy as np

        np.empty(2**28)


class TrustingTooMuch(Planted):
    name = "memory beyond the limit"

    def fault(self, folder: Path) -> None:
        import numpy as np

        np.empty(2**40)


class Following(Planted):
    name = "path escape"

    def fault(self, folder: Path) -> None:
        (folder / "../outside/secret").read_bytes()


class FollowingLinks(Planted):
    name = "link out"

    def fault(self, folder: Path) -> None:
        (folder / "link").symlink_to("../outside/secret")
        (folder / "link").read_bytes()


class Running(Planted):
    name = "code"

    def fault(self, folder: Path) -> None:
        os.system("true")


class Unpickling(Planted):
    """What an input ran has left its marker."""

    name = "marker"

    def fault(self, folder: Path) -> None:
        self.marker(folder).touch()


class Wrong(Planted):
    """A damaged file is guarded by a sum; it is taken all the same."""

    name = "wrong answer"

    def mutate(self, folder: Path, rng: Random) -> Case:
        super().mutate(folder, rng)
        return Case("bytes", same=True)


class Taking(Planted):
    name = "not refused"

    def mutate(self, folder: Path, rng: Random) -> Case:
        super().mutate(folder, rng)
        return Case("bytes", refused=True)


class Dying(Planted):
    name = "died"

    def fault(self, folder: Path) -> None:
        os._exit(3)


#: Of each fault what it is to be found as.
FOUND_AS = {
    "without a fault": None,
    "memory beyond the limit": "memory",
    "link out": "path escape",
    "marker": "code",
    "not refused": "wrong answer",
    "waiting": "hang",
}
READERS: dict[str, type[Planted]] = {
    reader.name: reader
    for reader in (
        *(Planted, Foreign, Lines, Endless, Waiting, Trusting, TrustingTooMuch, Following, FollowingLinks, Running),
        *(Unpickling, Wrong, Taking, Dying),
    )
}
