"""`lunet-export replay`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from lunet_cli import output
from lunet_cli.options import Json
from lunet_export.errors import BadInputError, CheckFailedError

_SHOWN = 16  # dimensions


def replay(
    folder: Annotated[Path, Argument(help="A folder of export --for-verifier.")],
    witness: Annotated[
        Path, Argument(help="What the verifier printed: ((X_0 v) ...) or Marabou's lines; or .json, .npy.")
    ],
    query: Annotated[str | None, Option(help="The file that it answers. Default: the only one.")] = None,
    tolerance: Annotated[
        float, Option(min=0, help="By how much bounds and comparisons may be missed; 0 for strictly.")
    ] = 1e-5,
    as_json: Json = False,
) -> None:
    """Run a verifier's witness in ONNX Runtime: is it one?

    It must lie in the latent box and violate the claim. Exit code 0 where both are so, 1 where not.

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
        output.say(f"{asked}: {'in' if found.in_box else 'outside of'} the box (off by {found.outside:.1e})")
        if found.outside:
            output.say(f"the witness's own z = {_numbers(found.given.tolist())}")
            output.say("what follows is of the nearest point in the box, not of the witness")
        if found.margin is None:
            output.say("nothing is claimed in this file, so the box is all there is to confirm")
        else:
            held = "holds" if found.margin >= 0 else "fails"
            output.say(f"{found.case} {held} by {abs(found.margin):.3e}; {found.allowed:.1e} would be allowed to fail")
        output.say(f"log p(x) = {found.log_prob:.6f} nats")
        for name, values in {"z": found.z, "x": found.x, "y": found.y}.items():
            output.say(f"{name} = {_numbers(values.tolist())}")
        if found.output_gap is not None:
            output.say(f"the verifier's own outputs differ by up to {found.output_gap:.1e}")
    if not found.confirmed:
        what = f"it is outside of the box by {found.outside:.3e}" if not found.in_box else f"{found.case} does not hold"
        raise CheckFailedError(f"Expected a counterexample in {witness}; in ONNX Runtime {what}. Not confirmed.")
    if not as_json:
        output.say("confirmed" if found.strict else f"confirmed, within the tolerance of {tolerance:g}")


def _numbers(values: list[float]) -> str:
    shown = ", ".join(f"{value:.7g}" for value in values[:_SHOWN])
    return f"[{shown}{', ...' if len(values) > _SHOWN else ''}]"
