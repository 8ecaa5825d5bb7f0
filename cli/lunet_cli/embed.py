"""`lunet-export embed`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Option

from lunet_cli import hints, output
from lunet_cli.options import Folder, Force, Json, Runtime
from lunet_export import embedding

Language = StrEnum("Language", ["c", "cpp", "rust", "node", "browser"])

_NEXT = {
    "c": ("cc", "-std=c11", "-O2", "replay.c", "-o", "replay", "-lm", "-ldl"),
    "cpp": ("cmake", "-S", ".", "-B", "build"),
    "rust": ("cargo", "build", "--release"),
    "node": ("npm", "install"),
    "browser": ("lunet-export", "serve", "."),
}


def embed(
    folder: Folder,
    language: Annotated[Language, Option(help="Of the project.")],
    target: Annotated[Path, Option("--output", "-o", help="The new project.")],
    runtime: Runtime = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a project in C, C++, Rust, Node or for the browser.

    It is ready to build, with your model in it. Its program replays the test vectors, samples, scores and times; its
    README has the commands. --force renews the model of a project and leaves all else as it is.

    Example: lunet-export embed exported/digits --language c -o flow-in-c
    """
    files = embedding.write_project(language.value, folder, target, runtime=runtime, force=force)
    if as_json:
        output.dump({"project": str(target), "language": language.value, "files": [str(file) for file in files]})
        return
    for file in files:
        output.say(str(target / file))
    hints.say("cd", str(target))
    hints.say(*_NEXT[language])
