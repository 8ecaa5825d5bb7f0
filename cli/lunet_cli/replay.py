"""`lunet-export replay`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from lunet_cli import output
from lunet_cli.options import Json
from lunet_export.errors import BadInputError, CheckFailedError

_SHOWN = 16  # dimensions


def replay(
    folder: Annotated[Path, Argument(help="A folder that export --for-verifier wrote.")],
    witness: Annotated[
        Path, Argument(help="A file of the verifier's output: ((X_0 v) ...) or lines of Marabou; or .json, .npy.")
    ],
    query: Annotated[
        str | None, Option(help="File of the query that the witness answers. Default: the only one.")
    ] = None,
    tolerance: Annotated[
        float, Option(min=0, help="Amount by which bounds and comparisons may be missed; 0 is strict.")
    ] = 1e-5,
    as_json: Json = False,
) -> None:
    """Run a verifier's witness in ONNX Runtime and confirm it.

    The witness must lie in the latent box and violate the claim. The exit code is 0 if it does both, else 1.

    Example: lunet-export replay runs/mine-verifier witness.txt
    """
    from lunet_export.verification import VerifierFolder
    from lunet_export.verification import replay as run
    from lunet_export.verification import witness as witnesses
    from lunet_export.verification.replay import as_json as found_as_json

    if not tolerance < float("inf"):
        raise BadInputError(f"Expected a finite --tolerance; got {tolerance}.")
    opened = VerifierFolder.open(folder)
    asked = opened.choose(query)
    found = run(opened, witnesses.read(witness, opened.dim), query=asked, tolerance=tolerance)
    if as_json:
        output.dump({"folder": str(folder), **found_as_json(found)})
    else:
        output.say(f"{asked}: {'in' if found.in_box else 'outside'} the box (off by {found.outside:.1e})")
        if found.outside:
            output.say(f"the witness's own z = {_numbers(found.given.tolist())}")
            output.say("the lines below are for the nearest point in the box, not for the witness")
        if found.margin is None:
            output.say("this file has no claim, so only the box is confirmed")
        else:
            held = "holds" if found.margin >= 0 else "fails"
            output.say(f"{found.case} {held} by {abs(found.margin):.3e}; it may fail by {found.allowed:.1e}")
        output.say(f"log p(x) = {found.log_prob:.6f} nats")
        for name, values in {"z": found.z, "x": found.x, "y": found.y}.items():
            output.say(f"{name} = {_numbers(values.tolist())}")
        if found.output_gap is not None:
            output.say(f"the verifier's own outputs differ by up to {found.output_gap:.1e}")
    if not found.confirmed:
        what = f"it is outside the box by {found.outside:.3e}" if not found.in_box else f"{found.case} does not hold"
        raise CheckFailedError(f"Expected a counterexample in {witness}; in ONNX Runtime {what}. Not confirmed.")
    if not as_json:
        output.say("confirmed" if found.strict else f"confirmed, within the tolerance of {tolerance:g}")


def _numbers(values: list[float]) -> str:
    shown = ", ".join(f"{value:.7g}" for value in values[:_SHOWN])
    return f"[{shown}{', ...' if len(values) > _SHOWN else ''}]"
