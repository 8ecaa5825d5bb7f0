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
        Path | None, Option(help="Who may have signed: lines of NAME KEY, as ssh-keygen and git read.")
    ] = None,
    signer: Annotated[str | None, Option(help="The one of them it must be. Default: anyone of them.")] = None,
    as_json: Json = False,
) -> None:
    """Verify each file against the manifest, and who signed it.

    Sizes and SHA-256 of all files are held against the manifest, and its signature against the keys in --signers.
    Without --signers nothing is known of who wrote the folder: an attacker mends hashes.

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
        output.say(f"not described by the manifest, and read by nothing: {', '.join(found.others)}")
    output.say(_words(signed))


def _words(signed: Signature | None) -> str:
    if signed is None:
        return "every file is the one that the manifest describes; the folder is not signed"
    if signed.signer is None:
        return f"every file is the one that the key {signed.key} signed; whose it is, --signers FILE tells"
    return f"every file is the one that {signed.signer} signed by the key {signed.key}"


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
