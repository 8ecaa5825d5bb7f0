"""Folders verified and signed: by whom, and what is said when something is not what it should be."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from lunet_export import inventory, signature
from lunet_export.artifact import open_folder, sealed
from lunet_export.embedding import write_project
from lunet_export.errors import ArtifactError, BadInputError, MissingPackageError
from lunet_export.export import Provenance, Question, SourceFile, export, export_for_verifier
from lunet_export.files.reading import sha256
from tests.cli.conftest import run
from tests.networks import network
from tests.verification.cases import piecewise_linear

pytestmark = pytest.mark.slow

with_keys = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen of OpenSSH")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Lena's and Eve's keys, and files of signers."""
    folder = tmp_path_factory.mktemp("keys")
    for who in ("lena", "eve"):
        options = ["-q", "-t", "ed25519", "-N", "", "-C", who, "-f", str(folder / who)]
        subprocess.run(["ssh-keygen", *options], check=True)
    public = {who: " ".join((folder / f"{who}.pub").read_text().split()[:2]) for who in ("lena", "eve")}
    lines = {
        "lena": [f"lena@example.org {public['lena']}"],
        "eve": [f"eve@example.org {public['eve']}"],
        "both": [f"eve@example.org {public['eve']}", f"lena@example.org {public['lena']}"],
        "of_git": [f'lena@example.org namespaces="git" {public["lena"]}'],
        "of_ours": [f'lena@example.org namespaces="lunet-export" {public["lena"]}'],
        "once": [f'lena@example.org valid-before="20200101" {public["lena"]}'],
        "anyone": [f"*@example.org {public['lena']}"],
        "nobody": [],
        "noise": ["\0\1 not a key"],
    }
    for name, text in lines.items():
        (folder / f"{name}.signers").write_text("\n".join([*text, ""]))
    return SimpleNamespace(folder=folder, **{name: folder / f"{name}.signers" for name in lines})


@pytest.fixture
def signed(folder, keys) -> Path:
    """A folder that Lena signed."""
    assert run("sign", folder, "--key", keys.folder / "lena")[0] == 0
    return folder


# What a folder holds


def test_verify_lists_every_file_with_its_size_and_digest(folder):
    code, out, _ = run("verify", folder)
    assert (code, "the folder is not signed" in out) == (0, True)
    for path in folder.iterdir():
        assert f"{path.stat().st_size}  {sha256(path.read_bytes())}" in out
    document = json.loads(run("verify", folder, "--json")[1])
    assert document["sha256"] == {path.name: sha256(path.read_bytes()) for path in folder.iterdir()}
    assert document["bytes"] == {path.name: path.stat().st_size for path in folder.iterdir()}
    assert (document["signature"], document["others"]) == (None, [])


def test_verify_tells_the_file_that_a_folder_was_made_from(tmp_path):
    (tmp_path / "m.pt").write_bytes(b"weights")
    export(network(3, 2), tmp_path / "m", Provenance("m", files={"model": SourceFile.of(tmp_path / "m.pt")}))
    assert f"made from m.pt (model), SHA-256 {sha256(b'weights')}" in run("verify", tmp_path / "m")[1]


def test_verify_takes_classes_and_folders_for_verifiers(class_folder, tmp_path):
    export_for_verifier(piecewise_linear(2, 2), tmp_path / "verifier", Provenance("m"), Question())
    assert "sampling_2.onnx" in run("verify", class_folder)[1]
    assert "query" not in run("verify", tmp_path / "verifier")[1]
    assert "box-0.9.vnnlib" in run("verify", tmp_path / "verifier")[1]


def test_what_the_manifest_does_not_describe_is_named(folder):
    (folder / "NOTES.md").write_text("hello")
    (folder / "more").mkdir()
    assert "never read: NOTES.md, more" in run("verify", folder)[1]


@pytest.mark.parametrize("provenance", [None, [], {"files": []}, {"files": {"model": "x", "other": {}}}])
def test_a_malformed_provenance_is_no_failure(folder, rewrite, provenance):
    rewrite(folder, lambda d: d.update(provenance=provenance))
    assert run("verify", folder)[0] == 0


@pytest.mark.parametrize("name", ["density.onnx", "sampling.onnx", "vectors.json", "README.md", "manifest.json"])
def test_every_flipped_byte_is_seen(folder, name):
    """The first, one amid, and the last but one (behind it is the manifest's newline)."""
    path = folder / name
    whole = path.read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 2):
        spoilt = bytearray(whole)
        spoilt[at] ^= 1
        path.write_bytes(spoilt)
        code, out, err = run("verify", folder)
        assert (code, out, err.count("\n")) == (2, "", 1), at
    path.write_bytes(whole)
    assert run("verify", folder)[0] == 0


# Who signed it


@with_keys
def test_a_signed_folder_names_its_signer_and_still_runs(signed, keys):
    code, out, _ = run("verify", signed, "--signers", keys.both)
    assert (code, "match what lena@example.org signed with the key ED25519 SHA256:" in out) == (0, True)
    assert run("verify", signed, "--signers", keys.of_ours, "--signer", "lena@example.org")[0] == 0
    document = json.loads(run("verify", signed, "--signers", keys.lena, "--json")[1])
    assert document["signature"]["signer"] == "lena@example.org"
    assert open_folder(signed).manifest.dim == 16
    assert run("check", signed)[0] == 0


@with_keys
def test_without_signers_nothing_is_said_of_who_it_was(signed):
    code, out, _ = run("verify", signed)
    assert (code, "--signers FILE tells whose key it is" in out) == (0, True)
    assert json.loads(run("verify", signed, "--json")[1])["signature"]["signer"] is None


@with_keys
def test_the_two_lines_of_the_documentation_do_the_same(folder, keys):
    """Signed by hand, verified by us; signed by us, verified by hand."""
    by_hand = ["ssh-keygen", "-Y", "sign", "-n", "lunet-export", "-f", str(keys.folder / "lena"), "manifest.json"]
    subprocess.run(by_hand, cwd=folder, check=True, capture_output=True)
    assert run("verify", folder, "--signers", keys.lena)[0] == 0
    assert run("sign", folder, "--key", keys.folder / "lena", "--force")[0] == 0
    who = ["-f", str(keys.lena), "-I", "lena@example.org", "-s", "manifest.json.sig"]
    verified = ["ssh-keygen", "-Y", "verify", "-n", "lunet-export", *who]
    with (folder / "manifest.json").open("rb") as file:
        subprocess.run(verified, cwd=folder, check=True, capture_output=True, stdin=file)


def _mended(folder, edit):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(sealed(document)))


def _another_density(folder):
    """What an attacker does who can compute hashes: another file, and a manifest that agrees with it."""
    data = (folder / "density.onnx").read_bytes()[:-1] + b"\0"
    (folder / "density.onnx").write_bytes(data)
    _mended(folder, lambda d: d["sha256"].update({"density.onnx": sha256(data)}))


ATTACKS = {
    "a tampered file": (lambda f: (f / "sampling.onnx").write_bytes(b"x"), "sampling.onnx of"),
    "a file and its hash": (_another_density, "Expected a signature of this folder"),
    "a mended manifest": (lambda f: _mended(f, lambda d: d["model"].update(name="x")), "of this folder"),
    "a manifest spelled anew": (lambda f: _mended(f, lambda d: None), "of this folder"),
    "no signature": (
        lambda f: (f / "manifest.json.sig").unlink(),
        "Ask its owner to run: lunet-export sign",
    ),
    "an empty signature": (lambda f: (f / "manifest.json.sig").write_bytes(b""), "of this folder"),
    "noise for a signature": (lambda f: (f / "manifest.json.sig").write_bytes(b"\0" * 999), "of this folder"),
    "a large signature": (lambda f: (f / "manifest.json.sig").write_bytes(b"x" * 2**17), "of at most 65536 bytes"),
    "a signature for git": ("git", "of this folder"),
    "Eve's signature": ("eve", "Expected a signature by one of the signers"),
}


@with_keys
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_on_a_signed_folder_are_refused_in_one_sentence(name, signed, keys):
    attack, sentence = ATTACKS[name]
    if attack == "eve":
        assert run("sign", signed, "--key", keys.folder / "eve", "--force")[0] == 0
    elif attack == "git":
        (signed / "manifest.json.sig").unlink()
        by_hand = ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(keys.folder / "lena"), "manifest.json"]
        subprocess.run(by_hand, cwd=signed, check=True, capture_output=True)
    else:
        attack(signed)
    code, out, err = run("verify", signed, "--signers", keys.lena)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert sentence in err


@with_keys
@pytest.mark.parametrize(
    ("signers", "signer", "sentence"),
    [
        ("eve", None, "got one by the key ED25519 SHA256:"),
        ("both", "eve@example.org", "Expected a signature by eve@example.org"),
        ("lena", "nobody", "Expected a signature by nobody"),
        ("of_git", None, "Expected a signature by one of the signers for 'lunet-export'"),
        ("once", None, "Expected a signature by one of the signers"),
        ("nobody", None, "Expected a signature by one of the signers"),
        ("noise", None, "Expected a signature by one of the signers"),
        ("anyone", None, "got the pattern *@example.org. Give a --signer"),
    ],
)
def test_other_signers_are_refused_in_one_sentence(signers, signer, sentence, signed, keys):
    options = [] if signer is None else ["--signer", signer]
    code, out, err = run("verify", signed, "--signers", getattr(keys, signers), *options)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert sentence in err


@with_keys
def test_a_pattern_takes_a_name_that_it_fits(signed, keys):
    assert run("verify", signed, "--signers", keys.anyone, "--signer", "lena@example.org")[0] == 0
    assert run("verify", signed, "--signers", keys.anyone, "--signer", "lena@example.com")[0] == 2


@with_keys
def test_options_that_do_not_fit_get_a_sentence(signed, keys, tmp_path):
    for arguments, sentence in (
        (["verify", signed, "--signer", "lena"], "Expected --signers beside --signer"),
        (["verify", signed, "--signers", tmp_path / "none"], "none does not exist. Give another --signers"),
        (["sign", signed, "--key", keys.folder / "lena"], "Give --force to replace it"),
        (["sign", signed, "--key", tmp_path / "none", "--force"], "Make one with: ssh-keygen -t ed25519"),
        (["sign", signed, "--key", keys.lena, "--force"], "Expected a key that signs; ssh-keygen says of"),
    ):
        before = (signed / "manifest.json.sig").read_bytes()
        code, out, err = run(*arguments)
        assert (code, out, sentence in err, err.count("\n")) == (2, "", True, 1), err
        assert (signed / "manifest.json.sig").read_bytes() == before


@with_keys
def test_nothing_is_signed_that_is_not_whole(folder, keys):
    (folder / "density.onnx").write_bytes(b"x")
    code, _, err = run("sign", folder, "--key", keys.folder / "lena")
    assert (code, "was altered or damaged" in err) == (2, True)
    assert not (folder / "manifest.json.sig").exists()


@with_keys
def test_without_ssh_keygen_it_is_asked_for(signed, keys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for arguments in (["verify", signed], ["sign", signed, "--force", "--key", keys.folder / "lena"]):
        code, out, err = run(*arguments)
        assert (code, out, "apt-get install openssh-client" in err, err.count("\n")) == (2, "", True, 1), err
    with pytest.raises(MissingPackageError):
        signature.sign(b"", keys.folder / "lena")
    (signed / "manifest.json.sig").unlink()
    assert run("verify", signed)[0] == 0  # hashes need nobody


# Where a signature goes


@with_keys
def test_an_export_anew_takes_the_signature_away(tmp_path, keys):
    export(network(3, 2), tmp_path / "m", Provenance("m"))
    assert run("sign", tmp_path / "m", "--key", keys.folder / "lena")[0] == 0
    export(network(3, 2, seed=1), tmp_path / "m", Provenance("m"), force=True)
    assert inventory.take(tmp_path / "m").signature is None


@with_keys
def test_a_signature_goes_with_the_model_into_a_project(signed, keys, tmp_path):
    write_project("c", signed, tmp_path / "c")
    assert run("verify", tmp_path / "c" / "model", "--signers", keys.lena)[0] == 0
    (signed / "manifest.json.sig").unlink()
    write_project("c", signed, tmp_path / "c", force=True)
    assert inventory.take(tmp_path / "c" / "model").signature is None


@with_keys
def test_a_folder_for_verifiers_is_signed_alike(tmp_path, keys):
    export_for_verifier(piecewise_linear(2, 2), tmp_path / "m", Provenance("m"), Question())
    assert run("sign", tmp_path / "m", "--key", keys.folder / "lena")[0] == 0
    code, out, _ = run("verify", tmp_path / "m", "--signers", keys.lena)
    assert (code, "verifier.json" in out, "lena@example.org signed" in out) == (0, True, True)


@with_keys
def test_a_signature_that_lies_elsewhere_is_not_read(signed, tmp_path):
    (signed / "manifest.json.sig").rename(tmp_path / "sig")
    (signed / "manifest.json.sig").symlink_to(tmp_path / "sig")
    with pytest.raises(ArtifactError, match="it lies elsewhere"):
        inventory.take(signed)


def test_the_words_of_python_are_those_of_the_commands(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        signature.verify(b"", b"", tmp_path / "none")
    with pytest.raises(ArtifactError, match="Expected an exported folder"):
        inventory.take(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"Expected manifest\.json"):
        inventory.take(tmp_path / "empty")


@pytest.mark.parametrize("where", ["the model file", "a file beside", "the model", "the folder"])
def test_names_of_strangers_neither_forge_lines_nor_command_the_terminal(where, folder, rewrite):
    """A forged line would say what `verify` says of a folder whose signer it knows."""
    name = "x\n\x1b[2Jall files match what lena@example.org signed"
    if where == "the model file":
        rewrite(folder, lambda d: d.update(provenance={"files": {"model\x07": {"name": name, "sha256": "\r"}}}))
    elif where == "a file beside":
        (folder / name).touch()
    elif where == "the model":
        rewrite(folder, lambda d: d["model"].update(name=name))
    else:
        folder = folder.rename(folder.parent / name)
        (folder / "density.onnx").unlink()
    for command in ("verify", "inspect", "check"):
        _, out, err = run(command, folder)
        for text in (out, err):
            assert set(text) - {"\n"} == {letter for letter in text if letter.isprintable()}
            assert not any(line.startswith(("all files match what lena", "\x1b")) for line in text.splitlines())
