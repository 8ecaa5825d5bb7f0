"""Commands of this program and of pip, to be pasted into the user's shell.

No index may have this package, so an extra of it is asked of where the package itself came from: pip notes that of
every folder, file and repository, in `direct_url.json` beside the metadata (PEP 610).
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

NAME = "lunet-export"
_CLONE = Path(__file__).parent.parent


def install(*packages: str) -> str:
    """Return the command that installs packages of an index."""
    return pip("install", *packages)


def install_extra(extra: str) -> str:
    """Return the command that installs an extra of this package, from where the package itself came.

    Where that folder or file is there no more, the command names what the extra consists of.
    """
    return pip("install", *_wanted(extra))


def pip(*arguments: str) -> str:
    """Return a command of pip for the environment that runs this, quoted for a shell.

    The `pip` that a shell finds may be another environment's, as where the program was started by its path.
    """
    found, python = shutil.which("pip"), sys.executable
    in_environment = sys.prefix != sys.base_prefix
    if found and in_environment and Path(found).parent == Path(python).parent:
        words = ["pip", *arguments]
    elif find_spec("pip") is None and shutil.which("uv"):
        words = ["uv", "pip", *arguments, "--python", python]
    elif find_spec("pip") is None and found:
        words = ["pip", "--python", python, *arguments]
    else:
        words = [python, "-m", "pip", *arguments]
    return _quoted(words)


def module(name: str, *arguments: str) -> str:
    """Return the command that runs a module of this package, quoted for a shell."""
    found, own = shutil.which("python"), Path(sys.executable)
    is_found = found is not None and sys.prefix != sys.base_prefix and Path(found).parent == own.parent
    return _quoted(["python" if is_found else str(own), "-m", name, *arguments])


def command(*arguments: str) -> str:
    """Return a command of this program, quoted for a shell; by its path where the shell does not find it."""
    own = Path(sys.executable).parent / NAME
    found = shutil.which(NAME)
    if found and own.exists() and Path(found).resolve() == own.resolve():
        return _quoted([NAME, *arguments])
    if own.exists():
        return _quoted([str(own), *arguments])
    return _quoted([sys.executable, "-m", "lunet_export", *arguments])


def _quoted(words: Sequence[str]) -> str:
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _wanted(extra: str) -> tuple[str, ...]:
    """Return what pip is asked for."""
    try:
        here = distribution(NAME)
    except PackageNotFoundError:
        here = None
    origin = {} if here is None else _origin(here)
    url = str(origin.get("url", ""))
    if url.startswith("file:") and "vcs_info" not in origin:
        path = Path(url2pathname(urlsplit(url).path))
        if not path.exists() and here is not None:
            return tuple(_parts(here, extra)) or (f"{NAME}[{extra}]",)
        if path.is_dir():
            editable = ("-e",) if _of(origin, "dir_info").get("editable") else ()
            return *editable, f"{path}[{extra}]"
    if url:
        return (f"{NAME}[{extra}] @ {_spelled(url, origin)}",)
    if (_CLONE / "pyproject.toml").is_file():  # run from a clone, by PYTHONPATH
        return "-e", f"{_CLONE}[{extra}]"
    return (f"{NAME}[{extra}]",)


def _origin(here: Distribution) -> Mapping[str, Any]:
    """Return what pip noted; nothing of what came from an index."""
    try:
        found = json.loads(here.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _of(origin: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = origin.get(name)
    return found if isinstance(found, dict) else {}


def _spelled(url: str, origin: Mapping[str, Any]) -> str:
    """Return the URL as a requirement spells it: a repository at its commit, a folder in it behind `#`."""
    repository = _of(origin, "vcs_info")
    if repository:
        url = f"{repository.get('vcs', 'git')}+{url}@{repository.get('commit_id', 'HEAD')}"
    inside = origin.get("subdirectory")
    return f"{url}#subdirectory={inside}" if inside else url


def _parts(here: Distribution, extra: str) -> list[str]:
    """Return the requirements of an extra, as the metadata lists them."""
    marked = (entry.partition(";") for entry in here.requires or ())
    return [
        requirement.strip() for requirement, _, marker in marked if re.search(rf"extra == ['\"]{extra}['\"]", marker)
    ]
