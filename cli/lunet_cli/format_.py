"""`lunet-export format`."""

from lunet_cli import output
from lunet_cli.options import Json
from lunet_export.artifact import specification


def format_(as_json: Json = False) -> None:
    """Print the format of an exported folder.

    The text is Markdown, for authors of programs in any language: files, tensors, manifest, test vectors, noise,
    signatures, and what later versions may change.

    Example: lunet-export format
    """
    if as_json:
        output.dump({"text": specification()})
        return
    output.say_lines(specification())
