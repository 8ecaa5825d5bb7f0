"""`lunet-export sign`."""

from pathlib import Path
from typing import Annotated

from typer import Option

from lunet_cli import hints, output
from lunet_cli.options import Folder, Force, Json
from lunet_export import inventory, signature
from lunet_export.errors import BadInputError
from lunet_export.files import whole_file


def sign(
    folder: Folder,
    key: Annotated[
        Path, Option(help="SSH key that signs: a private key, or a public one whose private key an agent holds.")
    ],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Sign a folder with an SSH key, after verifying all files.

    ssh-keygen of OpenSSH signs the manifest, which holds the SHA-256 of every other file. The signature is a file
    beside it; exporting again removes it.

    Example: lunet-export sign runs/mine --key ~/.ssh/id_ed25519
    """
    found = inventory.take(folder)
    target = folder / f"{found.manifest}{signature.SUFFIX}"
    if target.exists() and not force:
        raise BadInputError(
            f"Expected a folder without a signature; {target} exists already. Give --force to replace it."
        )
    made = signature.sign(found.data, key)
    by = signature.verify(found.data, made)
    with whole_file(target, follow=False) as path:
        path.write_bytes(made)
    if as_json:
        output.dump({"folder": str(folder), "signature": str(target), "key": by.key, "sha256": found.digest})
        return
    output.say(f"{target}: {found.manifest} with SHA-256 {found.digest}, signed with the key {by.key}")
    output.note("the receiver checks your key with: --signers FILE, which has a line of your name and your public key")
    hints.say("verify", str(folder))
