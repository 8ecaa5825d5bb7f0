"""The files of onnxruntime-web that a page serves, from npm or from a folder."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from lunet_export.errors import BadInputError, MissingPackageError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
#: Hash of the package's archive, so that a page serves the tested files.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FOLDER = "ort"
WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEBGPU = ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm")
_LARGEST = 64 * 2**20  # bytes of one file


def runtime_files(package: Path | None) -> dict[str, bytes]:
    """Return both builds of the runtime by their place in a page: WASM, and the larger one with WebGPU.

    Args:
        package: Folder of an unpacked onnxruntime-web, such as node_modules/onnxruntime-web; None fetches the tested
            version from npm and compares its archive with INTEGRITY.

    Raises:
        MissingPackageError: if npm is missing or cannot fetch the package.
        BadInputError: if `package` lacks a file, or the archive is another one.
    """
    files = _from_npm() if package is None else _from_folder(package)
    return {f"{FOLDER}/{name}": data for name, data in files.items()}


def _from_folder(package: Path) -> dict[str, bytes]:
    try:
        return {name: (package / "dist" / name).read_bytes() for name in (*WASM, *WEBGPU)}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInputError(
            f"Expected an unpacked {PACKAGE} in {package}; {error.filename} is missing. "
            f"Run: npm install --ignore-scripts {PACKAGE}@{VERSION}"
        ) from None


def _from_npm() -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingPackageError(
            f"Expected npm, to fetch {PACKAGE} {VERSION}; it is not installed. Install Node.js, or give the folder of "
            "an unpacked one as `runtime`."
        )
    with tempfile.TemporaryDirectory() as folder:
        options = ("--ignore-scripts", "--loglevel=error")  # --silent would hide the error
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", *options, "--pack-destination", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise MissingPackageError(
                f"Expected npm to fetch {PACKAGE} {VERSION}; it says: {said[0] if said else 'nothing'}. "
                "Check the network, or give the folder of an unpacked one as `runtime`."
            )
        return unpacked(archives[0])


def unpacked(archive: Path) -> dict[str, bytes]:
    """Return the files of the runtime in an archive, without extracting it.

    Raises:
        BadInputError: if it is another archive than the tested one, or lacks a file.
    """
    _validate_archive(archive.read_bytes())
    with tarfile.open(archive) as package:
        found = {}
        for name in (*WASM, *WEBGPU):
            member = package.getmember(f"package/dist/{name}")
            file = package.extractfile(member) if member.size <= _LARGEST else None
            if file is None:
                raise BadInputError(
                    f"Expected {name} in the archive of {PACKAGE}; it is too large or not a file. Do not use it."
                )
            found[name] = file.read()
    return found


def _validate_archive(archive: bytes) -> None:
    got = f"sha512-{base64.b64encode(hashlib.sha512(archive).digest()).decode()}"
    if got != INTEGRITY:
        raise BadInputError(f"Expected {PACKAGE} {VERSION} with {INTEGRITY[:24]}…; got {got[:24]}…. Do not use it.")
