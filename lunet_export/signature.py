"""Signatures of an exported folder, made and checked by OpenSSH's ssh-keygen: no cryptography is implemented here.

The signed bytes are manifest.json (verifier.json for a folder for verifiers). It holds the SHA-256 of every other file
that is read, so its signature is a signature of the folder. By hand, with keys as ssh and git use them:

    ssh-keygen -Y sign -n lunet-export -f KEY manifest.json                                         # manifest.json.sig
    ssh-keygen -Y verify -n lunet-export -f SIGNERS -I WHO -s manifest.json.sig < manifest.json
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_export.errors import ArtifactError, BadInputError, MissingPackageError

#: Purpose of a signature: one made for mail or git is not valid for a folder.
NAMESPACE = "lunet-export"
SUFFIX = ".sig"
LARGEST = 2**16  # bytes of a signature
_TOOL = "ssh-keygen"


@dataclass(frozen=True)
class Signature:
    """This signature fits its bytes. If `signer` is a name, it was also checked who signed."""

    key: str  # kind and fingerprint as ssh-keygen prints them: `ED25519 SHA256:...`
    signer: str | None = None


def sign(data: bytes, key: Path) -> bytes:
    """Sign the bytes with a private key, or with a public one whose private half an agent or a token holds.

    Returns:
        The content of the .sig file.

    Raises:
        BadInputError: if ssh-keygen refuses the key: it is missing, not a key, readable by others, or the passphrase is
            wrong.
        MissingPackageError: if there is no ssh-keygen.
    """
    if not key.is_file():
        raise BadInputError(f"Expected a key of ssh-keygen; {key} does not exist. Make one with: ssh-keygen -t ed25519")
    done = _run(["sign", "-n", NAMESPACE, "-f", str(key)], data)
    if done.returncode or b"SSH SIGNATURE" not in done.stdout:
        raise BadInputError(
            f"Expected a key that signs; ssh-keygen says of {key}: {_reason(done)}. Give another `key`."
        )
    return done.stdout


def verify(data: bytes, signature: bytes, signers: Path | None = None, *, who: str | None = None) -> Signature:
    """Check that the signature is one of these bytes, by one of the signers.

    Args:
        data: Bytes that were signed.
        signature: Content of the .sig file.
        signers: File in the format of ssh-keygen's ALLOWED SIGNERS and git's gpg.ssh.allowedSignersFile, one signer per
            line: `name@example.org ssh-ed25519 AAAA...`. None checks only the bytes, which says nothing about who
            signed.
        who: Name of the signer it must be; None takes anyone in the file.

    Returns:
        The signature's key, and its signer if `signers` is given.

    Raises:
        ArtifactError: if it is of other bytes, for another purpose, malformed, or by another key or person.
        BadInputError: if the file of signers is missing, or has a pattern in place of a name.
        MissingPackageError: if there is no ssh-keygen.
    """
    if signers is not None and not signers.is_file():
        raise BadInputError(f"Expected a file of allowed signers; {signers} does not exist. Give another `signers`.")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "signature"
        file.write_bytes(signature)
        common = ["-n", NAMESPACE, "-s", str(file)]
        done = _run(["check-novalidate", *common], data)
        found = re.search(r"with (\S+) key (\S+)", done.stdout.decode(errors="replace"))
        if done.returncode or not found:
            raise ArtifactError(
                f"Expected a signature of this folder; ssh-keygen says: {_reason(done)}. One of the two was "
                "altered, or the folder was exported again after it was signed. Fetch it again, or ask its signer."
            )
        key = f"{found[1]} {found[2]}"
        if signers is None:
            return Signature(key)
        for name in [who] if who else _named(signers, file, key):
            if not _run(["verify", *common, "-f", str(signers), "-I", name], data).returncode:
                return Signature(key, name)
    raise ArtifactError(
        f"Expected a signature by {who or 'one of the signers'} for {NAMESPACE!r}, as {signers} allows it; got one by "
        f"the key {key}. Fetch the folder again from its signer, or correct the file."
    )


def _named(signers: Path, file: Path, key: str) -> list[str]:
    """Return the names that the file of signers gives to the key."""
    done = _run(["find-principals", "-s", str(file), "-f", str(signers)], b"")
    names = done.stdout.decode(errors="replace").split("\n")[:-1]
    if any({*name} & {*"*?!"} for name in names):
        raise BadInputError(
            f"Expected a name in {signers} for the key {key}; got the pattern {names[0]}. Give a `signer`."
        )
    return names


def _run(arguments: Sequence[str], data: bytes) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run([_TOOL, "-Y", *arguments], input=data, capture_output=True, check=False)
    except FileNotFoundError:
        raise MissingPackageError(
            "Expected ssh-keygen of OpenSSH 8.2 or newer; it is missing. On Debian: apt-get install openssh-client"
        ) from None


def _reason(done: "subprocess.CompletedProcess[bytes]") -> str:
    """Return the last line that ssh-keygen wrote to stderr."""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else f"exit code {done.returncode}"
