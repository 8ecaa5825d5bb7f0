"""A page that samples and scores an exported image model in the browser, from any static host."""

from pathlib import Path

from lunet_export.artifact import open_folder
from lunet_export.embedding.project import MODEL, model_files, sources, write_all
from lunet_export.embedding.web_runtime import runtime_files
from lunet_export.errors import BadInputError

#: By this a page of ours is known, before --force replaces it.
MARK = '<meta name="generator" content="lunet-export">'
_PAGE = "index.html"


def write_page(folder: Path, target: Path, *, runtime: Path | None = None, force: bool = False) -> list[Path]:
    """Write the page, the model and the runtime as a folder of static files.

    Args:
        folder: The export of an image model, with one network or with one a class.
        target: The folder of the page.
        runtime: An unpacked onnxruntime-web; None asks npm for the version that was tested.
        force: Replace a page that this function wrote.

    Returns:
        The files, relative to `target`.

    Raises:
        ArtifactError: The export is not whole.
        BadInputError: Its rows are no images, or `target` exists.
        MissingPackageError: The runtime is neither given nor to be had from npm.
    """
    artifact = open_folder(folder)
    if artifact.manifest.image_shape is None or artifact.manifest.preprocessing is None:
        raise BadInputError(
            f"Expected an image model for the page; the rows of {folder} are no images. "
            "Take: lunet-export embed FOLDER --language browser"
        )
    if target.exists() and not (force and is_page(target)) and (not target.is_dir() or any(target.iterdir())):
        raise BadInputError(
            f"Expected a new folder for the page; {target} exists. Give another path, or `force=True` to replace a "
            "page."
        )
    files = {name: path.read_bytes() for name, path in sources("browser").items()}
    files |= model_files(folder, artifact) | runtime_files(runtime)
    write_all(files, target)
    return [Path(name) for name in files]


def is_page(folder: Path) -> bool:
    """Whether `write_page` may have written the folder."""
    page = folder / _PAGE
    return (folder / MODEL).is_dir() and page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")
