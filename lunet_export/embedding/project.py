"""Projects in other languages that are ready to build, with the user's model in them."""

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
#: Folder of the model in a project and in a page.
MODEL = "model"

_BORROWED = {"cpp": ("c/lunet.h",), "rust": ("c/lunet.h",), "browser": ("node/lunet.mjs", "node/steps.mjs")}
#: The languages that a project can be written in.
LANGUAGES = ("c", "cpp", "rust", "node", "browser")
_TOOLS = {"c": ("cc",), "cpp": ("cc", "c++"), "rust": ("cargo", "cc"), "node": ("node", "npm")}
_ONE_NETWORK = ("c", "cpp", "rust")  # Node and the browser also read folders with one network per class


def sources(language: str) -> dict[str, Path]:
    """Return the files of a project by their place in it, with their paths in the package."""
    own = PROJECTS / language
    built = {
        own / name for name in ("build", "target", "node_modules")
    }  # made when a project is built inside the package
    kept = (path for path in sorted(own.rglob("*")) if path.is_file() and not built & {*path.parents})
    found = {path.relative_to(own).as_posix(): path for path in kept}
    return found | {Path(file).name: PROJECTS / file for file in _BORROWED.get(language, ())}


def write_project(
    language: str, folder: Path, target: Path, *, runtime: Path | None = None, force: bool = False
) -> list[Path]:
    """Write a project that builds and runs as it is, with the exported `folder` as its model.

    Args:
        language: One of LANGUAGES.
        folder: Exported folder, which is verified and copied whole.
        target: Folder of the new project.
        runtime: For the browser, the folder of an unpacked onnxruntime-web; None fetches it from npm.
        force: Whether to replace the model of an existing project, and none of its other files.

    Returns:
        The files that were written, relative to `target`.

    Raises:
        BadInputError: if the language is unknown, a runtime is given for another one than the browser, or `target`
            exists.
        ArtifactError: if the export is not whole, or of a kind that the program in this language does not read.
        MissingPackageError: if the runtime of the browser is not given and npm cannot fetch it.
    """
    if language not in LANGUAGES:
        raise BadInputError(f"Expected a language of {', '.join(LANGUAGES)}; got {language!r}. Give one of these.")
    if runtime is not None and language != "browser":
        raise BadInputError(f"Expected `runtime` for the browser alone; got it for {language}. Leave it out.")
    artifact = open_folder(folder)
    if language in _ONE_NETWORK and artifact.manifest.names:
        raise ArtifactError(
            f"Expected a folder with one network for {language}; {folder} holds one network per class. "
            "Export the model file of one class, or use node or browser."
        )
    files = model_files(folder, artifact)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        if not force or not (target / MODEL / MANIFEST).is_file():
            raise BadInputError(
                f"Expected a new folder for the project; {target} exists. Give another path, or `force=True` to "
                "replace the model of a project that embed wrote."
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
    library = ["cpu", str(runtime)] if runtime else []  # else the program looks for its usual name
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
    """Return the tools that build or run the project and are not on the PATH."""
    return [tool for tool in _TOOLS.get(language, ()) if shutil.which(tool) is None]


def _renew(model: Path, files: Mapping[str, bytes]) -> None:
    """Replace the model of a project as a whole, so that two models never mix. Other files in its folder stay."""
    with whole_folder(model) as fresh:
        for path in model.iterdir():
            if not is_ours(path):
                if path.name in files:
                    raise BadInputError(
                        f"Expected {path} to be a file of lunet-export, or missing; it is another file. Rename it."
                    )
                if path.is_dir() and not path.is_symlink():
                    shutil.copytree(path, fresh / path.name, symlinks=True)
                else:
                    shutil.copy2(path, fresh / path.name, follow_symlinks=False)
        for name, data in files.items():
            (fresh / name).write_bytes(data)


def model_files(folder: Path, artifact: Artifact) -> dict[str, bytes]:
    """Return the verified files of an exported folder by their place in a project.

    Raises:
        ArtifactError: if the manifest changed while it was read.
    """
    manifest = read_inside(folder, MANIFEST)
    if json.loads(manifest) != artifact.manifest.document:
        raise ArtifactError(f"Expected {folder / MANIFEST} not to change while it is read; it changed. Try again.")
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
