"""`lunet-export embed`."""

import os
import shutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Option

from lunet_cli import hints, output
from lunet_cli.options import Folder, Force, Json, Runtime
from lunet_cli.pipes import validate_not_stdout
from lunet_export.embedding import project, write_project

Language = StrEnum("Language", ["c", "cpp", "rust", "node", "browser"])

#: Debian packages of the compilers.
_DEBIAN = {"cc": "gcc libc6-dev", "c++": "g++", "cargo": "cargo"}


def embed(
    folder: Folder,
    language: Annotated[Language, Option(help="Language of the project.")],
    target: Annotated[Path, Option("--output", "-o", help="Folder of the new project.")],
    runtime: Runtime = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a project in C, C++, Rust, Node or for the browser.

    The project is ready to build, with your model in it. Its program replays the test vectors, samples, scores and
    measures latency; its README has the commands. --force replaces the model of a project and nothing else.

    Example: lunet-export embed runs/digits --language c -o flow-in-c
    """
    validate_not_stdout("-o", target)
    files = write_project(language.value, folder, target, runtime=runtime, force=force)
    if as_json:
        output.dump({"project": str(target), "language": language.value, "files": [str(file) for file in files]})
        return
    for file in files:
        output.say(str(target / file))
    _say_what_is_missing(project.missing_tools(language.value))
    for line in project.next_steps(language.value, target):
        hints.say_line(line)


def _say_what_is_missing(tools: Sequence[str]) -> None:
    if not tools:
        return
    output.note(f"needs {', '.join(tools)}, which this machine's PATH lacks")
    if shutil.which("apt-get") and all(tool in _DEBIAN for tool in tools):
        sudo = "" if os.geteuid() == 0 else "sudo "
        hints.say_line(f"{sudo}apt-get update")
        hints.say_line(f"{sudo}apt-get install -y --no-install-recommends {' '.join(_DEBIAN[tool] for tool in tools)}")
