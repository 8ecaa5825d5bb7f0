"""`lunet-export embed`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lunet_cli import output
from lunet_cli.options import Folder, Force, Json, Runtime
from lunet_export import embedding


class Language(StrEnum):
    """A language that has a project."""

    C = "c"
    CPP = "cpp"
    RUST = "rust"
    NODE = "node"
    BROWSER = "browser"


_NEXT = {
    Language.C: ("cc", "-std=c11", "-O2", "replay.c", "-o", "replay", "-lm", "-ldl"),
    Language.CPP: ("cmake", "-S", ".", "-B", "build"),
    Language.RUST: ("cargo", "build", "--release"),
    Language.NODE: ("npm", "install"),
    Language.BROWSER: ("lunet-export", "serve", "."),
}


def embed(
    folder: Folder,
    language: Annotated[Language, typer.Option(help="Of the project.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="The new project.")],
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
    output.hint("cd", str(target))
    output.hint(*_NEXT[language])
