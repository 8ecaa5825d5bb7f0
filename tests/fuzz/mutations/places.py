"""What stands where a file is expected."""

import os
import shutil
from pathlib import Path
from random import Random

WAYS = (
    "missing",
    "folder",
    "fifo",
    "endless",
    "link out",
    "link in",
    "loop",
    "empty",
    "huge",
    "other",
    "unreadable name",
)


def mutate(path: Path, outside: Path, rng: Random) -> str:
    """Put something else in the place of a file; which. `outside` holds a copy of the file, as a link could find it."""
    way = rng.choice(WAYS)
    if way == "other":
        others = [other for other in path.parent.iterdir() if other.is_file() and other != path]
        if others:
            shutil.copyfile(rng.choice(others), path)
        return way
    path.unlink()
    if way == "folder":
        path.mkdir()
    elif way == "fifo":
        os.mkfifo(path)
    elif way == "endless":
        path.symlink_to("/dev/zero")
    elif way == "link out":
        path.symlink_to(outside)
    elif way == "link in":
        shutil.copyfile(outside, path.with_name("copy of it"))
        path.symlink_to("copy of it")
    elif way == "loop":
        path.symlink_to(path.name)
    elif way == "empty":
        path.touch()
    elif way == "huge":
        with path.open("wb") as file:
            file.truncate(rng.choice((2**33, 2**40)))
    elif way == "unreadable name":
        path.with_name("\udcff").touch()
    return way
