"""Signatures of an exported folder, made and checked by OpenSSH's ssh-keygen: no cryptography is implemented here.

What is signed is manifest.json, or verifier.json in a folder for verifiers. It holds the SHA-256 of every other file
that is read, so its signature covers the whole folder. The same by hand, with the keys of ssh and git:

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
    """This signature is valid for the bytes that it was checked with.

    Attributes:
        key: Kind and fingerprint of the key, as ssh-keygen prints them: `ED25519 SHA256:...`.
        signer: Name of the signer; None if it was not checked who signed.
    """

    key: str
    signer: str | None = None


def sign(data: bytes, key: Path) -> bytes:
    """Sign bytes.

    Args:
        data: Bytes to sign.
        key: File of a private key, or of a public key if an SSH agent or a hardware token holds the private one.

    Returns:
        The content of the .sig file.

    Raises:
        BadInputError: if ssh-keygen refuses the key, because it is missing, not a key or readable by others, or because
            the passphrase is wrong.
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
    """Check that a signature is valid for these bytes and, if `signers` is given, made by one of them.

    Args:
        data: Bytes that were signed.
        signature: Content of the .sig file.
        signers: File of allowed signers, one per line: `name@example.org ssh-ed25519 AAAA...`. This is the format of
            git's gpg.ssh.allowedSignersFile and of ssh-keygen, see "ALLOWED SIGNERS" in its manual. None checks the
            bytes only, and leaves open who signed.
        who: Name of the signer that is required; None allows every signer in the file.

    Returns:
        The key of the signature, and the name of the signer if `signers` is given.

    Raises:
        ArtifactError: if the signature is malformed, or made for other bytes, for another purpose, or with the key of
            somebody else.
        BadInputError: if the file of signers is missing, or holds a pattern instead of a name.
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
