"""`lunet-export verify`."""

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from lunet_cli import output
from lunet_cli.options import Folder, Json
from lunet_export import inventory, signature
from lunet_export.artifact import made_from
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.inventory import Inventory
from lunet_export.signature import Signature


def verify(
    folder: Folder,
    signers: Annotated[
        Path | None, Option(help="File of allowed signers: one NAME KEY per line, in the format of ssh-keygen and git.")
    ] = None,
    signer: Annotated[
        str | None, Option(help="Name of the signer that is required. Default: any of --signers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify the hash of each file, and who signed the folder.

    Compares the size and the SHA-256 of every file with the manifest, and the signature of the manifest with the keys
    in --signers. Without --signers it stays open who wrote the folder: an attacker can change the hashes too.

    Example: lunet-export verify runs/mine --signers allowed_signers --signer lena@example.org
    """
    if signer is not None and signers is None:
        raise BadInputError("Expected --signers beside --signer; got none. Give the file that holds the signer's key.")
    found = inventory.take(folder)
    if found.signature is None and signers is not None:
        raise ArtifactError(
            f"Expected a signature in {folder}; it has none. Ask its owner to run: lunet-export sign {folder} --key KEY"
        )
    signed = None
    if found.signature is not None:
        signed = signature.verify(found.data, found.signature, signers, who=signer)
    if as_json:
        output.dump(_document(folder, found, signed))
        return
    output.table(
        ["file", "bytes", "SHA-256"],
        [
            *((name, str(size), found.digests[name]) for name, size in found.sizes.items()),
            (found.manifest, str(len(found.data)), found.digest),
        ],
    )
    for role, file in made_from(found.document).items():
        output.say(f"made from {file.get('name')} ({role}), SHA-256 {file.get('sha256')}")
    if found.others:
        output.say(f"not in the manifest, and never read: {', '.join(found.others)}")
    output.say(_words(signed))


def _words(signed: Signature | None) -> str:
    if signed is None:
        return "all files match the manifest; the folder is not signed"
    if signed.signer is None:
        return f"all files match what the key {signed.key} signed; --signers FILE tells whose key it is"
    return f"all files match what {signed.signer} signed with the key {signed.key}"


def _document(folder: Path, found: Inventory, signed: Signature | None) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "verified": True,
        "manifest": found.manifest,
        "sha256": {**found.digests, found.manifest: found.digest},
        "bytes": {**found.sizes, found.manifest: len(found.data)},
        "made_from": made_from(found.document),
        "others": list(found.others),
        "signature": None if signed is None else {"key": signed.key, "signer": signed.signer},
    }
