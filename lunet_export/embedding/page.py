"""A page that samples and scores an exported model in the browser, from any static host."""

from pathlib import Path

from lunet_export.artifact import open_folder
from lunet_export.embedding.project import MODEL, model_files, sources, write_all
from lunet_export.embedding.web_runtime import runtime_files
from lunet_export.errors import BadInputError

#: Marks a page that this module wrote, and that --force may replace.
MARK = '<meta name="generator" content="lunet-export">'
_PAGE = "index.html"


def write_page(folder: Path, target: Path, *, runtime: Path | None = None, force: bool = False) -> list[Path]:
    """Write the page, the model and the runtime as a folder of static files.

    Args:
        folder: Export of images or of other rows, with one network or one network per class; it may take a context.
        target: Folder of the page.
        runtime: Folder of an unpacked onnxruntime-web; None fetches the tested version from npm.
        force: Whether to replace a page that this function wrote.

    Returns:
        The files, relative to `target`.

    Raises:
        ArtifactError: if the export is not whole.
        BadInputError: if its rows are not images, or `target` exists.
        MissingPackageError: if the runtime is not given and npm cannot fetch it.
    """
    artifact = open_folder(folder)
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
    """Return whether `write_page` may have written the folder."""
    page = folder / _PAGE
    return (folder / MODEL).is_dir() and page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")
