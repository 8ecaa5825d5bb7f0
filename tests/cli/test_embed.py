"""`embed`, `demo-page` and `serve`: what they write, and what they refuse. Building is for tests/embedding."""

import json
import os
import tarfile
import threading
import urllib.request
from pathlib import Path

import pytest

from lunet_export import embedding
from lunet_export.embedding import web_runtime
from lunet_export.embedding.page import is_page
from lunet_export.errors import BadInputError
from lunet_export.runtime import environment
from tests.cli.conftest import run
from tests.conftest import ROOT

TOY, DIGITS = ROOT / "exported" / "toy2d", ROOT / "exported" / "digits"
RUNTIME = (*web_runtime.WASM, *web_runtime.WEBGPU)


@pytest.fixture
def package(tmp_path) -> Path:
    """An unpacked onnxruntime-web, of empty files."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in RUNTIME:
        (folder / "dist" / name).write_text(f"// {name}")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OWN = {
    "c": {"README.md", "lunet.h", "replay.c"},
    "cpp": {"README.md", "CMakeLists.txt", "flow.hpp", "lunet.c", "lunet.h", "replay.cpp"},
    "rust": {"README.md", "Cargo.toml", "build.rs", "lunet.h", "src/lunet.rs", "src/main.rs"},
    "node": {"README.md", "package.json", ".npmrc", "lunet.mjs", "steps.mjs", "replay.mjs"},
}


@pytest.mark.parametrize("language", OWN)
def test_a_project_has_its_sources_and_the_model(language, tmp_path):
    code, out, err = run("embed", TOY, "--language", language, "-o", tmp_path / "flow")
    found = files(tmp_path / "flow")
    model = {f"model/{name}": data for name, data in files(TOY).items()}
    assert (code, set(found)) == (0, OWN[language] | set(model))
    assert {name: found[name] for name in model} == model
    assert out.splitlines() == [str(tmp_path / "flow" / name) for name in found] or set(out.split()) == {
        str(tmp_path / "flow" / name) for name in found
    }
    assert err.splitlines()[0] == f"next: cd {tmp_path / 'flow'}"


LACKING = {
    "c": ("cc", "gcc libc6-dev"),
    "cpp": ("cc, c++", "gcc libc6-dev g++"),
    "rust": ("cargo, cc", "cargo gcc libc6-dev"),
}


@pytest.mark.parametrize(("language", "lacking"), LACKING.items(), ids=LACKING)
@pytest.mark.parametrize("root", [True, False])
def test_compilers_that_are_missing_come_first(language, lacking, root, tmp_path, monkeypatch):
    (tmp_path / "apt-get").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    _, _, err = run("embed", TOY, "--language", language, "-o", tmp_path / "flow")
    sudo, (tools, packages) = "" if root else "sudo ", lacking
    assert err.splitlines()[:4] == [
        f"needs {tools}, which this machine's PATH lacks",
        f"next: {sudo}apt-get update",
        f"next: {sudo}apt-get install -y --no-install-recommends {packages}",
        f"next: cd {tmp_path / 'flow'}",
    ]


@pytest.mark.parametrize("language", ["c", "node"])
def test_what_no_package_is_known_for_is_only_named(language, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    _, _, err = run("embed", TOY, "--language", language, "-o", tmp_path / "flow")
    tools = {"c": "cc", "node": "node, npm"}[language]
    assert err.splitlines()[:2] == [f"needs {tools}, which this machine's PATH lacks", f"next: cd {tmp_path / 'flow'}"]


def test_without_onnx_runtime_its_library_is_looked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    _, _, err = run("embed", TOY, "--language", "c", "-o", tmp_path / "flow")
    assert err.splitlines()[-1] == "next: ./replay model"


def test_the_browsers_project_is_the_page_and_the_runtime(package, tmp_path):
    code, out, _ = run("embed", TOY, "--language", "browser", "-o", tmp_path / "flow", "--runtime", package, "--json")
    found = files(tmp_path / "flow")
    assert (code, set(json.loads(out)["files"])) == (0, set(found))
    assert {"index.html", "replay.html", "lunet.mjs", "steps.mjs", "model/density.onnx"} < set(found)
    assert {f"ort/{name}" for name in RUNTIME} < set(found)


def test_every_language_has_a_readme_of_one_screen_that_names_its_model():
    for language in embedding.LANGUAGES:
        text = (Path(embedding.__file__).parent / "projects" / language / "README.md").read_text()
        assert len(text.splitlines()) <= 50, language
        assert "model" in text


def test_force_renews_the_model_and_leaves_the_owners_work(tmp_path):
    assert run("embed", TOY, "--language", "c", "-o", tmp_path / "flow")[0] == 0
    (tmp_path / "flow" / "replay.c").write_text("// mine")
    code, _, err = run("embed", DIGITS, "--language", "c", "-o", tmp_path / "flow")
    assert (code, "exists. Give another path, or --force" in err) == (2, True)
    assert run("embed", DIGITS, "--language", "c", "-o", tmp_path / "flow", "--force")[0] == 0
    assert (tmp_path / "flow" / "replay.c").read_text() == "// mine"
    assert files(tmp_path / "flow" / "model") == files(DIGITS)


def test_a_page_has_everything_and_is_known_again(package, tmp_path):
    code, out, err = run("demo-page", DIGITS, "-o", tmp_path / "site", "--runtime", package)
    found = files(tmp_path / "site")
    assert (code, err) == (0, f"next: lunet-export serve {tmp_path / 'site'}\n")
    assert out.startswith(f"{tmp_path / 'site'}: {len(found)} files, ")
    assert is_page(tmp_path / "site")
    code, _, err = run("demo-page", DIGITS, "-o", tmp_path / "site", "--runtime", package)
    assert (code, "exists. Give another path, or --force" in err) == (2, True)
    assert run("demo-page", DIGITS, "-o", tmp_path / "site", "--runtime", package, "--force")[0] == 0


REFUSED = {
    "no folder": (["embed", "{out}/none", "--language", "c"], "Expected an exported folder"),
    "unknown language": (["embed", str(TOY), "--language", "cobol"], "cobol"),
    "a runtime for C": (["embed", str(TOY), "--language", "c", "--runtime", "x"], "for the browser alone"),
    "a file in the way": (["embed", str(TOY), "--language", "c", "-o", "{file}"], "exists. Give another path"),
    "someone's folder": (
        ["embed", str(TOY), "--language", "c", "-o", "{full}", "--force"],
        "exists. Give another path",
    ),
    "someone's page": (["demo-page", str(DIGITS), "-o", "{full}", "--force"], "exists. Give another path"),
    "no runtime there": (["demo-page", str(DIGITS), "--runtime", "{full}"], "Expected an unpacked onnxruntime-web"),
    "no page to serve": (["serve", "{full}"], "index.html is missing"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals_get_one_sentence_and_leave_nothing(arguments, words, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep.txt").write_text("x")
    names = {"{out}": tmp_path / "out", "{file}": tmp_path / "file", "{full}": tmp_path / "full"}
    for name, path in names.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    output = [] if "-o" in arguments or "serve" in arguments else ["-o", tmp_path / "out"]
    before = files(tmp_path)
    code, stdout, stderr = run(*arguments, *output)
    flat = " ".join(stderr.replace("│", " ").split())
    assert (code, words in flat, stdout) == (2, True, ""), stderr
    assert files(tmp_path) == before


def test_without_npm_the_sentence_says_what_else_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run("demo-page", DIGITS, "-o", tmp_path / "site")
    assert (code, "Expected npm" in err, "unpacked one as --runtime" in err) == (2, True, True)
    assert list(tmp_path.iterdir()) == []


def _npm(folder: Path, script: str) -> None:
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


def test_what_npm_says_is_said(monkeypatch, tmp_path):
    _npm(tmp_path, "echo 'npm error network is down' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    code, _, err = run("demo-page", DIGITS, "-o", tmp_path / "site")
    assert (code, "it says: npm error network is down" in " ".join(err.split())) == (2, True)


def test_another_archive_than_the_tested_one_is_refused(package, tmp_path, monkeypatch):
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as target:
        target.add(package, "package")
    with pytest.raises(BadInputError, match=r"Expected onnxruntime-web 1\.30\.0 with sha512-.*Do not use it"):
        web_runtime.unpacked(archive)
    monkeypatch.setattr(web_runtime, "_validate_archive", lambda data: None)
    assert web_runtime.unpacked(archive) == {name: f"// {name}".encode() for name in RUNTIME}


def test_the_server_gives_modules_their_types_and_nothing_outside(package, tmp_path):
    assert run("demo-page", DIGITS, "-o", tmp_path / "site", "--runtime", package)[0] == 0
    (tmp_path / "secret.txt").write_text("x")
    server = embedding.site_server(tmp_path / "site", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert server.server_address[0] == "127.0.0.1"
        types = {}
        for name in ("", "lunet.mjs", "ort/ort-wasm-simd-threaded.wasm", "model/manifest.json", "model/density.onnx"):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{name}") as answer:
                types[name] = answer.headers["Content-Type"]
        assert list(types.values()) == [
            "text/html", "text/javascript", "application/wasm", "application/json", "application/octet-stream",
        ]  # fmt: skip
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/../secret.txt")
    finally:
        server.shutdown()
        server.server_close()


def test_a_taken_port_says_so(package, tmp_path):
    assert run("demo-page", DIGITS, "-o", tmp_path / "site", "--runtime", package)[0] == 0
    with embedding.site_server(tmp_path / "site", 0) as server:
        code, _, err = run("serve", tmp_path / "site", "--port", server.server_port)
        assert (code, "give another --port" in err) == (4, True)
