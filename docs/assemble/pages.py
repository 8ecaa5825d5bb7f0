"""The pages of the site: those in docs/, those made of the code, and those that lie elsewhere in the repository.

Links in all of them are those of the repository, so that pages read on a code host as they read on the site. A link
to a file that is no page becomes its path, since the site does not know where its repository is hosted.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from docs.assemble import commands, reference

ROOT = Path(__file__).parents[2]

#: Pages of the site that lie outside docs/.
ELSEWHERE = {
    "index.md": "README.md",
    "folder-format.md": "lunet_export/artifact/FORMAT.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "benchmarks/questions.md": "benchmarks/README.md",
    "robustness/hostile-files.md": "tests/fuzz/README.md",
    "robustness/extremes.md": "tests/extremes/README.md",
    "robustness/faults.md": "tests/faults/README.md",
}

#: A block of code, code in a line, or a link; what begins first counts.
_LINK = re.compile(
    r"^(?P<indent> *)```.*?^(?P=indent)```|`[^`\n]+`|"
    r"(?P<mark>!?)\[(?P<label>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
_FILES = {".png", ".svg", ".css"}


def assemble(folder: Path) -> None:
    """Write every page and every picture that a page shows into a folder."""
    origins = {str(path.relative_to("docs")): str(path) for path in _relative(ROOT / "docs", "*.md")} | ELSEWHERE
    texts = {uri: (ROOT / origin).read_text(encoding="utf-8") for uri, origin in origins.items()}
    for uri, text in texts.items():
        _write(folder / uri, _with_links_of_the_site(text, uri, origins, folder).encode())
    for uri, text in (commands.pages() | reference.pages()).items():
        _write(folder / uri, text.encode())
    for path in _relative(ROOT / "docs", "*.css"):
        _write(folder / path.relative_to("docs"), (ROOT / path).read_bytes())


def _relative(folder: Path, pattern: str) -> list[Path]:
    return [path.relative_to(ROOT) for path in sorted(folder.rglob(pattern))]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _with_links_of_the_site(text: str, uri: str, origins: dict[str, str], folder: Path) -> str:
    """Turn the links of a page of the repository into those of the site, but in code."""
    here = Path(origins[uri])
    pages = {origin: page for page, origin in origins.items()}

    def link(found: re.Match[str]) -> str:
        label, target = found["label"], found["target"]
        address = urlsplit(target or "")
        if address.scheme or not address.path:  # code, another host, or this page
            return found[0]
        place = os.path.normpath(here.parent / address.path)
        if not (ROOT / place).exists():
            raise FileNotFoundError(f"{here}: the link to {target} leads nowhere")
        if (leads_to := pages.get(place)) is None:
            if Path(place).suffix not in _FILES:
                return f"`{place}`" if label.strip("`") == place else f"{label} (`{place}`)"
            leads_to = f"files/{place}"
            _write(folder / leads_to, (ROOT / place).read_bytes())
        mark = found["mark"]
        anchor = f"#{address.fragment}" if address.fragment else ""
        return f"{mark}[{label}]({os.path.relpath(leads_to, Path(uri).parent)}{anchor})"

    return _LINK.sub(link, text)
