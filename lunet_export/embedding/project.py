"""A ready project in another language, with the user's own model in it."""

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from lunet_export import installation, signature
from lunet_export.artifact import MANIFEST, README, SIGNATURE, VECTORS, Artifact, is_ours, open_folder, read_readme
from lunet_export.embedding.web_runtime import runtime_files
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.files import exclusive, whole_folder
from lunet_export.files.reading import read_inside
from lunet_export.runtime import environment

PROJECTS = Path(__file__).parent / "projects"
#: Where the model lies in a project and in a page.
MODEL = "model"

_BORROWED = {"cpp": ("c/lunet.h",), "rust": ("c/lunet.h",), "browser": ("node/lunet.mjs", "node/steps.mjs")}
#: The languages that a project can be written in.
LANGUAGES = ("c", "cpp", "rust", "node", "browser")
_TOOLS = {"c": ("cc",), "cpp": ("cc", "c++"), "rust": ("cargo", "cc"), "node": ("node", "npm")}
_ONE_NETWORK = ("c", "cpp", "rust")  # Node and the browser read folders with a network a class too


def sources(language: str) -> dict[str, Path]:
    """The files of a project: their places in it, and where they are now."""
    own = PROJECTS / language
    built = {own / name for name in ("build", "target", "node_modules")}  # by someone who works on a project in place
    kept = (path for path in sorted(own.rglob("*")) if path.is_file() and not built & {*path.parents})
    found = {path.relative_to(own).as_posix(): path for path in kept}
    return found | {Path(file).name: PROJECTS / file for file in _BORROWED.get(language, ())}


def write_project(
    language: str, folder: Path, target: Path, *, runtime: Path | None = None, force: bool = False
) -> list[Path]:
    """Write a project that builds and runs as it is, with the exported `folder` as its model.

    Args:
        language: One of LANGUAGES.
        folder: The export; it is verified, and copied whole.
        target: The new project. Where it exists, `force` renews its model and leaves all else, which is its owner's.
        runtime: For the browser, an unpacked onnxruntime-web; None asks npm for it.
        force: Renew the model of an existing project.

    Returns:
        The files that were written, relative to `target`.

    Raises:
        BadInputError: An unknown language, a runtime for another one than the browser, or `target` exists.
        ArtifactError: The export is not whole, or of a kind that this language's program does not read.
        MissingPackageError: The browser's runtime is neither given nor to be had from npm.
    """
    if language not in LANGUAGES:
        raise BadInputError(f"Expected a language of {', '.join(LANGUAGES)}; got {language!r}.")
    if runtime is not None and language != "browser":
        raise BadInputError(f"Expected `runtime` for the browser alone; got it for {language}. Leave it out.")
    artifact = open_folder(folder)
    if language in _ONE_NETWORK and artifact.manifest.names:
        raise ArtifactError(
            f"Expected a folder with one network for {language}; {folder} holds a network a class. "
            "Export one class's own file, or take node or browser."
        )
    files = model_files(folder, artifact)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        if not force or not (target / MODEL / MANIFEST).is_file():
            raise BadInputError(
                f"Expected a new folder for the project; {target} exists. Give another path, or `force=True` to renew "
                "the model of a project that embed wrote."
            )
        with exclusive(target):
            _renew(target / MODEL, {Path(name).name: data for name, data in files.items()})
        return [Path(name) for name in files]
    files |= {name: path.read_bytes() for name, path in sources(language).items()}
    if language == "browser":
        files |= runtime_files(runtime)
    write_all(files, target)
    return [Path(name) for name in files]


def next_steps(language: str, target: Path) -> list[str]:
    """Return lines of shell that build a project and run its program, with this environment's ONNX Runtime."""
    if language == "browser":
        return [installation.command("serve", str(target))]
    runtime = environment.onnxruntime_library()
    library = ["cpu", str(runtime)] if runtime else []  # else by its usual name, where the system looks
    lines = {
        "c": ["cc -std=c11 -O2 replay.c -o replay -lm -ldl", shlex.join(["./replay", MODEL, *library])],
        "cpp": [
            "cc -std=c11 -O2 -c lunet.c",
            "c++ -std=c++20 -O2 replay.cpp lunet.o -o replay -lm -ldl",
            shlex.join(["./replay", MODEL, *library]),
        ],
        "rust": ["cargo build --release", shlex.join(["target/release/replay", MODEL, *library])],
        "node": ["npm install", f"node replay.mjs {MODEL}"],
    }
    return [shlex.join(["cd", str(target)]), *lines[language]]


def missing_tools(language: str) -> list[str]:
    """Return what builds or runs the project and is not on this machine's PATH."""
    return [tool for tool in _TOOLS.get(language, ()) if shutil.which(tool) is None]


def _renew(model: Path, files: Mapping[str, bytes]) -> None:
    """Replace the model of a project as a whole: half of each of two models is none. What else lies there stays."""
    with whole_folder(model) as fresh:
        for path in model.iterdir():
            if not is_ours(path):
                if path.name in files:
                    raise BadInputError(
                        f"Expected {path} to be of lunet-export, or not there; it is somebody's own. Rename it."
                    )
                if path.is_dir() and not path.is_symlink():
                    shutil.copytree(path, fresh / path.name, symlinks=True)
                else:
                    shutil.copy2(path, fresh / path.name, follow_symlinks=False)
        for name, data in files.items():
            (fresh / name).write_bytes(data)


def model_files(folder: Path, artifact: Artifact) -> dict[str, bytes]:
    """The files of an exported folder by their place in a project, as they were verified.

    Raises:
        ArtifactError: The manifest changed while it was read.
    """
    manifest = read_inside(folder, MANIFEST)
    if json.loads(manifest) != artifact.manifest.document:
        raise ArtifactError(f"Expected {folder / MANIFEST} to stay as it is; it changed just now. Try again.")
    graphs = {f"{name}.onnx": data for name, data in artifact.graphs.items()}
    files = {MANIFEST: manifest, VECTORS: artifact.vectors_json, **graphs}
    if (readme := read_readme(folder, artifact.manifest.document)) is not None:
        files[README] = readme
    if (folder / SIGNATURE).is_file():
        files[SIGNATURE] = read_inside(folder, SIGNATURE, most=signature.LARGEST)
    return {f"{MODEL}/{name}": data for name, data in files.items()}


def write_all(files: Mapping[str, bytes], target: Path) -> None:
    """Write a folder of files that appears whole or not at all."""
    with whole_folder(target) as fresh:
        for name, data in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
